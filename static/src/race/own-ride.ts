/** A ride as the device keeps it: a column per measure, so that ten rides fit into some 100 kB. */
import { isRecord, type NextPlace } from './board'
import type { Sample } from './ride'

export interface OwnRide {
  /** The race under which it was sent, and the time of its start in milliseconds since 1970. */
  raceId: number
  classId: number
  racerId: number
  riderName: string
  /** Whether it was ridden faster than real time or by the page. Such a ride is not sent. */
  practice: boolean
  /** Whether it was given up before its last second; none in a ride that an earlier page kept. */
  gaveUp?: boolean
  /** Whether it was handed to the outbox. */
  sent: boolean
  /** Whether the service is known to have stored it. */
  delivered: boolean
  /** Why the service refused it, or the rest of it; null if it is not known to have done so. */
  refused: string | null
  /** Number of records that it rejected; none in a ride that an earlier page kept. */
  rejected?: number
  /** Whether it is known to have taken any of it; none in a ride that an earlier page kept. */
  anyTaken?: boolean
  /** By second; the first is second 1. */
  cadences: number[]
  resistances: number[]
  outputs: number[]
  bests: (number | null)[]
  ranks: (number | null)[]
  totals: (number | null)[]
  /** The class record before the ride. */
  classRecords: (number | null)[]
  /** The pacer; none in a ride without one, and in one that an earlier page kept. */
  pacer?: { label: string; outputs: (number | null)[] } | undefined
  /** The next place at the finish. */
  next?: NextPlace | null
}

type Head = Omit<OwnRide, 'cadences' | 'resistances' | 'outputs' | 'bests' | 'ranks' | 'totals'>

export function toOwnRide(head: Head, samples: readonly Sample[]): OwnRide {
  return {
    ...head,
    cadences: samples.map(({ cadence }) => cadence),
    resistances: samples.map(({ resistance }) => resistance),
    outputs: samples.map(({ output }) => output),
    bests: samples.map(({ best }) => best),
    ranks: samples.map(({ rank }) => rank),
    totals: samples.map(({ total }) => total),
  }
}

export function samplesOf(ride: OwnRide): Sample[] {
  return ride.outputs.map((output, i) => {
    const best = ride.bests[i] ?? null
    return {
      second: i + 1,
      cadence: ride.cadences[i] ?? 0,
      resistance: ride.resistances[i] ?? 0,
      output,
      best,
      record: isRecord(output, best),
      rank: ride.ranks[i] ?? null,
      total: ride.totals[i] ?? null,
    }
  })
}

/** Whether the service is known to have rejected every record of a ride, as it does when the class is full. */
export function isRejected({ rejected = 0, outputs, gaveUp }: OwnRide): boolean {
  // The end of a ride that was given up is a record of its own: it repeats the last second.
  const records = outputs.length + (gaveUp ? 1 : 0)
  return rejected > 0 && rejected >= records
}

/** Whether a ride stands on the boards as a whole, or will when it is sent. */
export function isOnBoards(ride: OwnRide): boolean {
  return ride.sent && ride.refused === null && !isRejected(ride)
}
