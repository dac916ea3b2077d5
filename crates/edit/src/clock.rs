//! Frames on the clocks of other programs: milliseconds, timecode, fractions of a second.

/// Integer frame rates that timecode is defined for (SMPTE ST 12), slowest first.
const TIMECODE_RATES: [u32; 6] = [24, 25, 30, 48, 50, 60];

/// Frame rates of projects in Final Cut Pro that are whole numbers.
const PROJECT_RATES: [u32; 5] = [24, 25, 30, 50, 60];

/// A project's rate where the film's is none of them.
const USUAL_PROJECT_RATE: u32 = 24;

/// The rate at which timecode counts films of `frames_per_second`: the slowest that the standard
/// knows and that falls on every frame; the film's own where there is none.
pub fn timecode_rate(frames_per_second: u32) -> u32 {
    let falls = |rate: &u32| rate.is_multiple_of(frames_per_second);
    TIMECODE_RATES.into_iter().find(falls).unwrap_or(frames_per_second)
}

/// The rate of a Final Cut project that holds films of `frames_per_second`.
pub fn project_rate(frames_per_second: u32) -> u32 {
    match PROJECT_RATES.contains(&frames_per_second) {
        true => frames_per_second,
        false => USUAL_PROJECT_RATE,
    }
}

/// The first tick of a clock of `rate` at which a frame is seen.
pub fn first_tick(frame: usize, frames_per_second: u32, rate: u32) -> usize {
    (frame * rate as usize).div_ceil(frames_per_second as usize)
}

/// `hh:mm:ss:ff`, with `ff` counting from 0 to `rate` - 1.
pub fn timecode(tick: usize, rate: u32) -> String {
    let rate = rate as usize;
    let (seconds, ticks) = (tick / rate, tick % rate);
    let [hours, minutes, seconds] = hours(seconds);
    format!("{hours:02}:{minutes:02}:{seconds:02}:{ticks:02}")
}

/// `hh:mm:ss` and milliseconds after `separator`, to the nearest one.
pub fn milliseconds(frame: usize, frames_per_second: u32, separator: char) -> String {
    let fps = frames_per_second as usize;
    let millis = (frame * 1000 + fps / 2) / fps;
    let [hours, minutes, seconds] = hours(millis / 1000);
    format!("{hours:02}:{minutes:02}:{seconds:02}{separator}{:03}", millis % 1000)
}

/// `33/16s`, or `2s` where it is a whole number.
pub fn fraction(ticks: usize, rate: u32) -> String {
    match ticks % rate as usize {
        0 => format!("{}s", ticks / rate as usize),
        _ => format!("{ticks}/{rate}s"),
    }
}

fn hours(seconds: usize) -> [usize; 3] {
    [seconds / 3600, seconds / 60 % 60, seconds % 60]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sixteen_frames_a_second_are_counted_at_48_and_put_into_projects_of_24() {
        assert_eq!([12, 16, 24, 25, 30, 15, 7].map(timecode_rate), [24, 48, 24, 25, 30, 30, 7]);
        assert_eq!([16, 24, 25, 48].map(project_rate), [24, 24, 25, 24]);
    }

    #[test]
    fn clocks_carry_over() {
        assert_eq!(timecode(48 * 3599 + 47, 48), "00:59:59:47");
        assert_eq!(timecode(48 * 3600, 48), "01:00:00:00");
        assert_eq!(milliseconds(33, 16, '.'), "00:00:02.063");
        assert_eq!(milliseconds(16 * 3600 + 8, 16, ','), "01:00:00,500");
        assert_eq!(milliseconds(59, 60, '.'), "00:00:00.983");
        assert_eq!((fraction(33, 16), fraction(32, 16)), ("33/16s".to_owned(), "2s".to_owned()));
    }

    proptest! {
        #[test]
        fn a_frame_is_seen_at_its_first_tick_and_not_before(
            frame in 0usize..1_000_000, fps in 1u32..=100, rate in 1u32..=100,
        ) {
            let seen = |tick: usize| tick * fps as usize / rate as usize;
            let tick = first_tick(frame, fps, rate);
            prop_assert!(frame <= seen(tick));
            prop_assert!(tick == 0 || seen(tick - 1) < frame);
        }

        #[test]
        fn timecode_falls_on_every_frame(frame in 0usize..1_000_000, fps in 1u32..=60) {
            let rate = timecode_rate(fps);
            let tick = first_tick(frame, fps, rate);
            prop_assert_eq!(tick * fps as usize, frame * rate as usize);
        }
    }
}
