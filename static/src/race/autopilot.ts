import { CADENCE, RESISTANCE } from './output'

/** What a rider does at a second. */
export interface Effortful {
  cadence: number
  resistance: number
}

/** How far the ride strays from its aim at most, as a share of it. */
const STRAY = 0.04

/**
 * Rides for a visitor: a little around the own best, so that some seconds are records and some are not, or towards the
 * class record for one who never rode; without either, a ride of its own that gets harder. `chance` is from 0 to 1.
 */
export function autopilot(
  second: number,
  seconds: number,
  best: number | null,
  record: number | null,
  chance: number,
): Effortful {
  const way = second / seconds
  const aim = best ?? (record === null ? 110 + 70 * way : record * (0.8 + 0.22 * way))
  const wave = Math.sin(second / 9) * STRAY * 0.6
  return near(aim * (1.005 + wave + (chance - 0.5) * STRAY), 72 + 24 * way)
}

/** Cadence and resistance, in whole steps, that come nearest to an output at about that cadence. */
export function near(output: number, cadence: number): Effortful {
  const at = Math.round(clamp(cadence, CADENCE.min, CADENCE.max))
  const resistance = Math.round(
    clamp((output * 100) / (at + 35) - 65, RESISTANCE.min, RESISTANCE.max),
  )
  // What the resistance's steps and bounds left open is pedalled.
  return {
    cadence: Math.round(clamp((output * 100) / (resistance + 65) - 35, CADENCE.min, CADENCE.max)),
    resistance,
  }
}

function clamp(value: number, min: number, max: number): number {
  return Math.min(max, Math.max(min, value))
}
