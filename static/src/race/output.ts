/** The output of a rider at a second: the service's formula, in the same order, never rounded. */
export function output(cadence: number, resistance: number): number {
  return ((cadence + 35) * (resistance + 65)) / 100
}

/** What a rider can set on the page. The service takes more; nobody pedals that fast. */
export const CADENCE = { min: 0, max: 150, step: 1 } as const
export const RESISTANCE = { min: 0, max: 100, step: 1 } as const

/** How long a race lasts, in seconds; its first second is 1. */
export const RACE_SECONDS = 300
