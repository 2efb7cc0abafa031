/** Returns the output: the service's formula, in the same order, never rounded. */
export function output(cadence: number, resistance: number): number {
  return ((cadence + 35) * (resistance + 65)) / 100
}

/** Ranges of the controls. The service accepts a higher cadence, but nobody pedals that fast. */
export const CADENCE = { min: 0, max: 150, step: 1 } as const
export const RESISTANCE = { min: 0, max: 100, step: 1 } as const

/** Returns the value, or the bound of the range that it exceeds. */
export function clamp(value: number, { min, max }: { min: number; max: number }): number {
  return Math.min(max, Math.max(min, value))
}

/** Length of a race, in seconds. Its first second is 1. */
export const RACE_SECONDS = 300
