//! `shotstream serve`: the live server and its studio.

use std::{
    fs, net::SocketAddr, num::NonZeroU32, path::Path, sync::Arc, sync::mpsc::Receiver,
    time::Duration,
};

use shotstream_engine::{
    event::{Command, EventSender},
    meter::Meter,
    network::{FrameEncoder as _, Latents, NetworkError, Pixels},
    noise::Noise,
    session::{self, Ending, Networks, Settings},
    story::StoryState,
};
use shotstream_models::fast::{FastNetworks, Kernels};
use shotstream_serve::{Config, Key, ServeError, Up, serve};
use shotstream_story::{record::Hash, teller::Teller};

use crate::{
    cli::{DecoderArgs, ServeArgs, TextArgs},
    device::with_kernels,
    failure::{Blame as _, WrongUse},
    model::{self, ModelFile},
    progress::line,
    text,
};

/// Characters of a key at least.
const SHORTEST_KEY: usize = 16;

/// Serve until asked to stop.
pub(crate) fn run(args: &ServeArgs) -> anyhow::Result<()> {
    let keys = args.keys.as_deref().map(read_keys).transpose()?.unwrap_or_default();
    if !args.host.is_loopback() && keys.is_empty() && !args.open {
        return Err(WrongUse::error(format!(
            "whoever reaches {} could use the server, expected --keys FILE or --open",
            args.host
        )));
    }
    let config = Config {
        address: SocketAddr::new(args.host, args.port),
        folder: args.stories.clone(),
        keys,
        origins: args.origins.clone(),
        sessions: args.sessions.map(usize::from),
        lines: args.viewers.into(),
        connections: args.connections.into(),
        rate: NonZeroU32::new(args.rate),
        linger: Duration::from_secs(args.linger.into()),
        keep_alive: Duration::from_secs(args.keep_alive.into()),
        #[cfg(feature = "otlp")]
        otlp: args.otlp.clone(),
        #[cfg(feature = "whep")]
        whep_address: args.whep_address,
    };
    let file = model::open(&args.model)?;
    with_kernels!(file.device.clone(), kernels => run_on(args, config, file, kernels))
}

fn run_on(
    args: &ServeArgs,
    config: Config,
    file: ModelFile,
    kernels: impl Kernels + 'static,
) -> anyhow::Result<()> {
    let teller = ModelTeller::open(file, kernels, (&args.text, &args.decoder), args.size)?;
    let teller = Arc::new(teller);
    let up = |Up { address, sessions }| {
        line(&format!("the studio is at http://{address}, for {sessions} stories at once"));
    };
    match serve(config, teller, up) {
        Err(error @ ServeError::Listen { .. }) => Err(error).wrong_use(),
        other => Ok(other?),
    }
}

/// The keys of a file, hashed, and what they may have.
fn read_keys(path: &Path) -> anyhow::Result<Vec<Key>> {
    let place = path.display();
    let text = fs::read_to_string(path);
    let text = text.map_err(|e| format!("cannot read the keys ({e}): {place}")).wrong_use()?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    match lines.map(key_of).collect::<Option<Vec<_>>>().filter(|keys| !keys.is_empty()) {
        Some(keys) => Ok(keys),
        None => Err(WrongUse::error(format!(
            "keys of {SHORTEST_KEY} letters, digits, '-', '_' or '.' or more were expected, one a line, frames a day behind it or nothing: {place}"
        ))),
    }
}

/// The key of a line.
fn key_of(line: &str) -> Option<Key> {
    let mut words = line.split_whitespace();
    let key = words.next()?;
    let frames_per_day = words.next().map(str::parse).transpose().ok()?;
    let fits = SHORTEST_KEY <= key.len()
        && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    (fits && words.next().is_none())
        .then_some(Key { hash: Hash::of(key.as_bytes()), frames_per_day })
}

/// The engine with a model's networks.
pub(crate) struct ModelTeller<K: Kernels> {
    file: ModelFile,
    networks: FastNetworks<K>,
    settings: Settings,
}

impl<K: Kernels> ModelTeller<K> {
    /// Load a model for a device.
    ///
    /// # Errors
    /// When its networks cannot be built, or there is no room for them.
    pub(crate) fn open(
        file: ModelFile,
        kernels: K,
        (text, decoder): (&TextArgs, &DecoderArgs),
        size: Option<[usize; 2]>,
    ) -> anyhow::Result<Self> {
        let settings = Settings {
            recipe: file.recipe(size)?,
            latent_channels: file.latent_channels(),
            noise: Noise::Seeded,
            capture_latents: false,
        };
        let networks = file.networks(kernels, text::open(&file, text)?, decoder)?;
        Ok(Self { networks, settings, file })
    }
}

impl<K: Kernels + 'static> Teller for ModelTeller<K> {
    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn name(&self) -> &str {
        &self.file.name
    }

    fn remember(&self, picture: &Pixels) -> Result<Latents, NetworkError> {
        self.networks.encoder.encode(picture)
    }

    fn tell(
        &self,
        story: &mut StoryState,
        commands: &Receiver<Command>,
        events: &EventSender,
        meter: &Meter,
    ) -> Ending {
        let FastNetworks { text, denoiser, decoder, encoder } = &self.networks;
        let networks = Networks { text, denoiser, decoder, encoder };
        session::run(&networks, &self.settings, story, commands, events, meter)
    }
}
