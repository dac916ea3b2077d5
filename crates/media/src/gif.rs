//! A film as an animated GIF, for places where nothing else moves.
//!
//! Every shot has a palette of its own. A pixel that looks as it did is left transparent, which
//! keeps the file small and still areas still. GIF counts hundredths of a second; each frame stays
//! until the one after it is due, so the whole is as long as the film.
//!
//! Source: Graphics Interchange Format 89a, CompuServe.

use std::fmt;
use std::io::Write;

use ::gif::{DisposalMethod, Encoder, EncodingError, Frame as Picture, Repeat};
use color_quant::NeuQuant;

use crate::error::MediaError;
use crate::frame::Frame;

/// Larger pictures are made this wide.
const WIDEST: usize = 480;

/// More frames a second than a page of moving pictures should have to show.
const MOST_FRAMES_PER_SECOND: u32 = 12;

/// Colours of a shot; one more entry of its palette is transparent.
const COLOURS: usize = 255;
const TRANSPARENT: u8 = 255;

/// Pixels that a palette is learnt from.
const SAMPLES: usize = 1 << 17;

/// A pixel has changed when one of its channels differs by more than this.
const UNSEEN: u8 = 6;

/// An animated picture that grows shot by shot.
pub struct GifStream<W: Write> {
    encoder: Encoder<W>,
    size: [usize; 2],
    fps: u32,
    /// Frames of the film before the next shot.
    frames: usize,
}

impl<W: Write> fmt::Debug for GifStream<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [width, height] = self.size;
        write!(f, "GifStream({width}x{height}, {} frames)", self.frames)
    }
}

impl<W: Write> GifStream<W> {
    /// A picture of a film of `size` (width, height) at `fps` frames a second.
    ///
    /// # Errors
    /// When such a picture cannot be made or the writer refuses.
    pub fn new(out: W, size: [usize; 2], fps: u32) -> Result<Self, MediaError> {
        let [width, height] = size;
        let width_now = width.min(WIDEST);
        let size_now = [width_now, (height * width_now).div_ceil(width.max(1)).max(1)];
        let impossible = || MediaError::Size { width, height };
        let [Ok(columns), Ok(rows)] = size_now.map(u16::try_from) else { return Err(impossible()) };
        if columns == 0 || fps == 0 {
            return Err(impossible());
        }
        let mut encoder = Encoder::new(out, columns, rows, &[]).map_err(refused)?;
        encoder.set_repeat(Repeat::Infinite).map_err(refused)?;
        Ok(Self { encoder, size: size_now, fps, frames: 0 })
    }

    /// Add the frames of a shot.
    ///
    /// # Errors
    /// When a frame is not valid or the writer refuses.
    pub fn shot(&mut self, frames: &[Frame]) -> Result<(), MediaError> {
        let step = self.fps.div_ceil(MOST_FRAMES_PER_SECOND) as usize;
        let [width, height] = self.size;
        let shown = frames.iter().step_by(step).map(|frame| frame.resized(width, height));
        let shown: Vec<_> = shown.collect::<Result<_, _>>()?;
        let Some(mut palette) = Palette::of(&shown) else { return Ok(()) };
        let mut canvas: Vec<Option<u8>> = vec![None; width * height];
        for (at, frame) in shown.iter().enumerate() {
            let first = self.frames + at * step;
            let last = self.frames + frames.len().min((at + 1) * step);
            let picture = Picture {
                delay: (self.hundredths(last) - self.hundredths(first)) as u16,
                dispose: DisposalMethod::Keep,
                transparent: Some(TRANSPARENT),
                palette: Some(palette.colours.concat()),
                buffer: palette.changes(frame, &mut canvas).into(),
                width: width as u16,
                height: height as u16,
                ..Picture::default()
            };
            self.encoder.write_frame(&picture).map_err(refused)?;
        }
        self.frames += frames.len();
        Ok(())
    }

    /// End the picture and hand the writer back.
    ///
    /// # Errors
    /// When the writer refuses.
    pub fn finish(self) -> Result<W, MediaError> {
        self.encoder.into_inner().map_err(refused)
    }

    /// When a frame of the film is due.
    fn hundredths(&self, frame: usize) -> usize {
        (frame * 100 + self.fps as usize / 2) / self.fps as usize
    }
}

/// The colours of a shot.
struct Palette {
    network: NeuQuant,
    colours: Vec<[u8; 3]>,
    /// The colour nearest to each that was asked for, by six bits a channel.
    nearest: Vec<Option<u8>>,
}

impl Palette {
    /// Learn the colours of some frames; none for none.
    fn of(frames: &[Frame]) -> Option<Self> {
        let pixels: usize = frames.iter().map(|frame| frame.width * frame.height).sum();
        // An odd step does not fall on the same columns again and again.
        let step = (pixels / SAMPLES) | 1;
        let rgb = frames.iter().flat_map(|frame| frame.rgb.chunks_exact(3));
        let samples: Vec<u8> = rgb.step_by(step).flat_map(|p| [p[0], p[1], p[2], 255]).collect();
        if samples.is_empty() {
            return None;
        }
        let network = NeuQuant::new(1, COLOURS, &samples);
        let colours = network.color_map_rgb();
        let mut colours: Vec<_> = colours.chunks_exact(3).map(|c| [c[0], c[1], c[2]]).collect();
        colours.resize(COLOURS + 1, [0; 3]);
        Some(Self { network, colours, nearest: vec![None; 1 << 18] })
    }

    /// The colours of a frame, transparent where the canvas shows them already.
    fn changes(&mut self, frame: &Frame, canvas: &mut [Option<u8>]) -> Vec<u8> {
        let pixels = frame.rgb.chunks_exact(3).zip(canvas);
        pixels
            .map(|(pixel, shown)| {
                let same = shown.is_some_and(|index| {
                    let colour = self.colours[usize::from(index)];
                    colour.iter().zip(pixel).all(|(a, b)| a.abs_diff(*b) <= UNSEEN)
                });
                let index = self.index([pixel[0], pixel[1], pixel[2]]);
                if same || *shown == Some(index) {
                    return TRANSPARENT;
                }
                *shown = Some(index);
                index
            })
            .collect()
    }

    fn index(&mut self, [red, green, blue]: [u8; 3]) -> u8 {
        let place = [red, green, blue].iter().fold(0, |place, &c| place << 6 | usize::from(c >> 2));
        let network = &self.network;
        *self.nearest[place].get_or_insert_with(|| {
            // One of 255 colours is a byte.
            network.index_of(&[red, green, blue, 255]) as u8
        })
    }
}

fn refused(error: EncodingError) -> MediaError {
    match error {
        EncodingError::Io(source) => MediaError::Stream { source },
        error => MediaError::codec("write an animated picture")(error),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use ::gif::{ColorOutput, DecodeOptions};

    use super::*;

    /// Delays and pictures as a viewer would see them.
    fn seen(bytes: &[u8], [width, height]: [usize; 2]) -> Vec<(u16, Frame)> {
        let mut options = DecodeOptions::new();
        options.set_color_output(ColorOutput::RGBA);
        let mut decoder = options.read_info(bytes).unwrap();
        assert_eq!([decoder.width(), decoder.height()].map(usize::from), [width, height]);
        assert_eq!(decoder.repeat(), Repeat::Infinite);
        let mut canvas = Frame::filled(width, height, [1, 2, 3]);
        let mut frames = Vec::new();
        while let Some(picture) = decoder.read_next_frame().unwrap() {
            for (shown, new) in canvas.rgb.chunks_exact_mut(3).zip(picture.buffer.chunks_exact(4)) {
                if new[3] == 255 {
                    shown.copy_from_slice(&new[..3]);
                }
            }
            frames.push((picture.delay, canvas.clone()));
        }
        frames
    }

    /// A gradient with a bright square that moves over it.
    fn drawn(time: usize) -> Frame {
        let [width, height] = [96, 60];
        let mut rgb = Vec::new();
        for y in 0..height {
            for x in 0..width {
                let inside = (10..30).contains(&y) && (time..time + 20).contains(&x);
                rgb.extend(if inside { [250, 40, 30] } else { [60, 2 * x as u8, 4 * y as u8] });
            }
        }
        Frame { width, height, rgb }
    }

    fn gif(shots: &[Vec<Frame>]) -> Vec<u8> {
        let mut stream = GifStream::new(Vec::new(), [96, 60], 16).unwrap();
        shots.iter().for_each(|frames| stream.shot(frames).unwrap());
        stream.finish().unwrap()
    }

    #[test]
    fn every_second_frame_of_sixteen_is_seen_almost_as_it_was() {
        let frames: Vec<_> = (0..21).map(drawn).collect();
        let found = seen(&gif(std::slice::from_ref(&frames)), [96, 60]);
        assert_eq!(found.len(), 11);
        for ((_, found), drawn) in found.iter().zip(frames.iter().step_by(2)) {
            let far = found.rgb.iter().zip(&drawn.rgb).map(|(a, b)| u32::from(a.abs_diff(*b)));
            let (sum, most) = (far.clone().sum::<u32>(), far.max().unwrap());
            assert!(sum < 6 * found.rgb.len() as u32 && most < 64, "{sum}, {most}");
        }
    }

    #[test]
    fn a_gif_is_as_long_as_the_film_whatever_the_shots() {
        let shots = [33, 9, 1, 21].map(|length| vec![Frame::filled(96, 60, [9, 90, 200]); length]);
        let delays: usize = seen(&gif(&shots), [96, 60]).iter().map(|(d, _)| usize::from(*d)).sum();
        assert_eq!(delays, (64 * 100) / 16);
    }

    #[test]
    fn a_shot_begins_with_its_own_colours() {
        let [red, blue] = [[240, 20, 10], [10, 30, 230]].map(|c| vec![Frame::filled(96, 60, c); 4]);
        let found = seen(&gif(&[red, blue]), [96, 60]);
        for (channel, expected) in found[2].1.pixel(50, 30).into_iter().zip([10u8, 30, 230]) {
            assert!(channel.abs_diff(expected) < 8, "{channel}, {expected}");
        }
    }

    #[test]
    fn a_large_picture_is_made_smaller_and_an_empty_one_refused() {
        let stream = GifStream::new(Vec::new(), [832, 480], 16).unwrap();
        assert_eq!(format!("{stream:?}"), "GifStream(480x277, 0 frames)");
        assert!(GifStream::new(Vec::new(), [0, 4], 16).is_err());
    }

    #[test]
    fn a_writer_that_refuses_is_told_apart() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::Error::from(io::ErrorKind::BrokenPipe))
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        assert!(GifStream::new(Closed, [8, 8], 16).unwrap_err().reader_left());
    }
}
