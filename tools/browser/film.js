// What independent programs see in a film.

import { execFile } from "node:child_process";
import { promisify } from "node:util";

const run = promisify(execFile);

/** Frames that `ffprobe` reads of a film; it must not complain. @param {string} path */
export async function countedFrames(path) {
  const options = ["-v", "error", "-count_frames", "-select_streams", "v:0", "-show_entries", "stream=nb_read_frames", "-of", "csv=p=0"];
  const { stdout, stderr } = await run("ffprobe", [...options, path]);
  if (stderr) throw new Error(`ffprobe complains: ${stderr}`);
  return Number(stdout.trim().replace(/,$/, ""));
}

/** Every frame as small grey pictures. @param {string} path @param {number[]} size width, height */
export async function smallPictures(path, [width, height]) {
  const options = ["-v", "error", "-i", path, "-vf", `scale=${width}:${height}:flags=area,format=gray`, "-f", "rawvideo", "-"];
  const { stdout } = await run("ffmpeg", options, { encoding: "buffer", maxBuffer: 1 << 28 });
  const pixels = width * height;
  return Array.from({ length: stdout.length / pixels }, (_, i) => [...stdout.subarray(i * pixels, (i + 1) * pixels)]);
}
