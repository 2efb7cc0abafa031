import { CADENCE, clamp, RESISTANCE } from './output'

/** A rider's settings at a second. */
interface Settings {
  cadence: number
  resistance: number
}

/** Width of the random deviation from the aim, as a share of it: 2 % to either side. A slow wave adds up to 2.4 %. */
const STRAY = 0.04

/**
 * Returns the settings of the next second. The ride stays around the rider's best, so that some seconds are records and some
 * are not. Without a best it approaches the class record, and without that it gets harder. `chance` is from 0 to 1.
 */
export function autopilot(
  second: number,
  seconds: number,
  best: number | null,
  classRecord: number | null,
  chance: number,
): Settings {
  const way = second / seconds
  const aim = best ?? (classRecord === null ? 110 + 70 * way : classRecord * (0.8 + 0.22 * way))
  const wave = Math.sin(second / 9) * STRAY * 0.6
  return near(aim * (1.005 + wave + (chance - 0.5) * STRAY), 72 + 24 * way)
}

/** Returns the cadence and resistance, in whole steps, that come nearest to an output at about that cadence. */
export function near(output: number, cadence: number): Settings {
  const at = Math.round(clamp(cadence, CADENCE))
  const resistance = Math.round(clamp((output * 100) / (at + 35) - 65, RESISTANCE))
  // The cadence makes up for the steps and bounds of the resistance.
  return {
    cadence: Math.round(clamp((output * 100) / (resistance + 65) - 35, CADENCE)),
    resistance,
  }
}
