/** Time from one second to the next while playing, in milliseconds. */
export const PLAY_MS = 250
