/** Speeds of a race, in multiples of real time. */
export const SPEEDS = [1, 5, 20] as const
export type Speed = (typeof SPEEDS)[number]

/**
 * The clock of a race: real time without the pauses, times a speed that may change. It reads no time itself: every call
 * brings the time, in milliseconds.
 */
export class RaceClock {
  #elapsedMs = 0
  #since: number | null = null
  #speed: number

  constructor(
    readonly seconds: number,
    speed: number,
  ) {
    this.#speed = speed
  }

  start(now: number): void {
    this.#since ??= now
  }

  pause(now: number): void {
    this.#elapsedMs = this.elapsedMs(now)
    this.#since = null
  }

  setSpeed(speed: number, now: number): void {
    const running = this.running
    this.pause(now)
    this.#speed = speed
    if (running) this.start(now)
  }

  get running(): boolean {
    return this.#since !== null
  }

  /** Returns the race time that has passed, in milliseconds, up to the end. */
  elapsedMs(now: number): number {
    const since = this.#since === null ? 0 : Math.max(0, now - this.#since) * this.#speed
    return Math.min(this.#elapsedMs + since, this.seconds * 1000)
  }

  /** Returns the number of seconds that are over: 0 at first, `seconds` at the end. */
  second(now: number): number {
    return Math.floor(this.elapsedMs(now) / 1000)
  }
}

/** Returns a race time: `4:05`. */
export function minutes(seconds: number): string {
  return `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, '0')}`
}
