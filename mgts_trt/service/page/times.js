// Times as people read them: the clock of a live stream, or the position in a video.

const CLOCK = 1e8; // seconds: greater ones are since 1970, lesser ones since a video's start

export const isClock = (seconds) => seconds !== null && seconds > CLOCK;

/** As 2026-11-28 08:44:06 by the clock of this computer, or as 1:02:03.4 into a video; empty where unknown. */
export function formatTime(seconds) {
  if (seconds === null || seconds === undefined) return "";
  if (isClock(seconds)) return localTime(seconds).replace("T", " ");
  const tenths = Math.round(10 * seconds);
  const [hours, minutes] = [Math.floor(tenths / 36000), Math.floor(tenths / 600) % 60];
  const rest = ((tenths % 600) / 10).toFixed(1).padStart(4, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}

/** From–to, as people read it; the day once, if it is one. */
export function formatSpan(start, end) {
  const [from, to] = [formatTime(start), formatTime(end)];
  if (!to || from === to) return from;
  return `${from} – ${isClock(start) && from.slice(0, 10) === to.slice(0, 10) ? to.slice(11) : to}`;
}

/** What a field for date and time holds, to the second. */
export function localTime(seconds) {
  const date = new Date(1000 * seconds);
  return new Date(date.getTime() - 60_000 * date.getTimezoneOffset()).toISOString().slice(0, 19);
}

/** Seconds since 1970 of such a field; at its end where it names a minute only. */
export function fromLocalTime(value, atEnd = false) {
  if (!value) return "";
  return new Date(value).getTime() / 1000 + (atEnd && value.length === 16 ? 59.999 : 0);
}
