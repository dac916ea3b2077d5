//! What the client asked for and the session has not done yet.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::thread;
use std::time::{Duration, Instant};

use shotstream_plan::script::ShotScript;

use crate::event::{Command, EventSender, ViewerLeft};
use crate::story::StoryState;

/// Steps that may wait here; more wait in the channel, which slows the client down.
const WAITING_STEPS: usize = 256;

/// How often an idle session looks whether anybody still watches.
const IDLE: Duration = Duration::from_millis(50);

/// How often a session that is ahead of its viewer looks for room.
const FULL: Duration = Duration::from_millis(2);

/// What the next step of a story is.
#[derive(Clone, Debug)]
pub(crate) enum Next {
    /// Make a shot.
    Shot(Request),
    /// Go on from another state.
    GoTo(Box<StoryState>),
    /// Say that words came when no shot was running.
    TooLate(String),
}

/// What the client wants done at a chunk border.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Nothing.
    GoOn,
    /// Other words.
    Rewrite(String),
    /// An end.
    Cut,
}

/// A shot that was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// What was asked.
    pub(crate) shot: ShotScript,
    /// When it was certainly not known earlier than.
    pub(crate) known: Instant,
}

/// The commands of a session, read at chunk borders and between shots.
#[derive(Debug)]
pub(crate) struct Inbox<'a> {
    commands: &'a Receiver<Command>,
    waiting: VecDeque<Next>,
    cut: bool,
    rewrite: Option<String>,
    /// Whether the words are for a shot that was asked for before them and has not begun.
    rewrites_next: bool,
    /// Whether a shot is being made.
    running: bool,
    closed: bool,
    looked: Instant,
}

impl<'a> Inbox<'a> {
    pub(crate) fn new(commands: &'a Receiver<Command>) -> Self {
        let looked = Instant::now();
        Self {
            commands,
            waiting: VecDeque::new(),
            cut: false,
            rewrite: None,
            rewrites_next: false,
            running: false,
            closed: false,
            looked,
        }
    }

    /// The next step, waiting for one; nothing when the client has no more to ask. A cut that was
    /// asked for before no longer has a shot to end, nor have other words one to hold for.
    pub(crate) fn next(&mut self, events: &EventSender) -> Result<Option<Next>, ViewerLeft> {
        self.look();
        self.running = false;
        loop {
            events.check()?;
            self.cut = false;
            if let Some(caption) = self.rewrite.take_if(|_| !self.rewrites_next) {
                return Ok(Some(Next::TooLate(caption)));
            }
            if let Some(step) = self.waiting.pop_front() {
                self.running = matches!(step, Next::Shot(_));
                self.rewrites_next &= !self.running;
                return Ok(Some(step));
            }
            if self.closed {
                return Ok(None);
            }
            match self.commands.recv_timeout(IDLE) {
                Ok(command) => self.take(command, Instant::now()),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => self.closed = true,
            }
            self.looked = Instant::now();
        }
    }

    /// The shot that would come next, if it is known.
    pub(crate) fn peek(&self) -> Option<&ShotScript> {
        match self.waiting.front()? {
            Next::Shot(request) => Some(&request.shot),
            Next::GoTo(_) | Next::TooLate(_) => None,
        }
    }

    /// Wait until the session may have made `frames` frames.
    pub(crate) fn wait_for_room(
        &mut self,
        frames: usize,
        events: &EventSender,
    ) -> Result<(), ViewerLeft> {
        while events.room() < frames {
            events.check()?;
            thread::sleep(FULL);
            self.look();
        }
        Ok(())
    }

    /// Wait until the session may have made `frames` frames, those of the next chunk among them, or
    /// the running shot should end; then say what is wanted. `None` where no chunk follows.
    pub(crate) fn wish_before(
        &mut self,
        frames: Option<usize>,
        events: &EventSender,
    ) -> Result<Wish, ViewerLeft> {
        self.look();
        while frames.is_some_and(|frames| events.room() < frames) && !self.cut {
            events.check()?;
            thread::sleep(FULL);
            self.look();
        }
        if std::mem::take(&mut self.cut) {
            return Ok(Wish::Cut);
        }
        let rewrite = self.rewrite.take_if(|_| frames.is_some());
        Ok(rewrite.map_or(Wish::GoOn, Wish::Rewrite))
    }

    fn look(&mut self) {
        let before = self.looked;
        self.looked = Instant::now();
        while !self.closed && self.waiting.len() < WAITING_STEPS {
            match self.commands.try_recv() {
                Ok(command) => self.take(command, before),
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => self.closed = true,
            }
        }
    }

    fn take(&mut self, command: Command, known: Instant) {
        match command {
            Command::AddShot { shot } => {
                self.waiting.push_back(Next::Shot(Request { shot, known }));
            }
            Command::GoTo { story } => self.waiting.push_back(Next::GoTo(story)),
            Command::Cut => self.cut = true,
            Command::Rewrite { caption } => {
                let waits = || self.waiting.iter().any(|step| matches!(step, Next::Shot(_)));
                self.rewrites_next = !self.running && waits();
                self.rewrite = Some(caption);
            }
            Command::Finish => self.closed = true,
        }
    }
}
