/** The recent rides of this device, newest first. */
import { useStorage } from '@vueuse/core'
import { watch } from 'vue'

import type { OwnRide } from '../race/own-ride'
import { outbox } from './outbox'

/** Maximum number of rides that the device keeps: some 10 kB each. */
const RIDES_MAX = 10

const COLUMNS = [
  'cadences',
  'resistances',
  'outputs',
  'bests',
  'ranks',
  'totals',
  'classRecords',
] as const satisfies (keyof OwnRide)[]

export function parseRides(text: string): OwnRide[] {
  try {
    const rides = JSON.parse(text) as (OwnRide | null)[]
    // An earlier page may have stored other columns.
    const isWhole = (ride: OwnRide | null) =>
      ride !== null && COLUMNS.every((column) => Array.isArray(ride[column]))
    return Array.isArray(rides) ? (rides.filter((ride) => isWhole(ride)) as OwnRide[]) : []
  } catch {
    return []
  }
}

export const ownRides = useStorage<OwnRide[]>('alleycat.rides', [], undefined, {
  serializer: { read: parseRides, write: JSON.stringify },
  shallow: true,
})

/** Number of rejected records by race that this page has added to the kept ride. */
const addedRejected = new Map<number, number>()

/** Returns how many records were rejected on this page and are not added to the kept ride yet. */
function newRejected(raceId: number): number {
  const { rejected = 0 } = outbox.deliveries.get(raceId) ?? {}
  return Math.max(0, rejected - (addedRejected.get(raceId) ?? 0))
}

/** Keeps a ride, in place of an earlier version of it. */
export function keepRide(ride: OwnRide): void {
  const others = ownRides.value.filter(({ raceId }) => raceId !== ride.raceId)
  const kept = withDelivery(ride)
  addedRejected.set(ride.raceId, outbox.deliveries.get(ride.raceId)?.rejected ?? 0)
  const rides = [...others, kept].sort((a, b) => b.raceId - a.raceId)
  ownRides.value = rides.slice(0, RIDES_MAX)
}

export function ownRide(raceId: number): OwnRide | null {
  return ownRides.value.find((ride) => ride.raceId === raceId) ?? null
}

/** Returns the ride with the state of its delivery. What is known from earlier stays. */
function withDelivery(ride: OwnRide): OwnRide {
  const before = ownRide(ride.raceId)
  const delivery = outbox.deliveries.get(ride.raceId)
  const reason = delivery?.state === 'refused' ? (delivery.reason ?? '') : null
  return {
    ...ride,
    delivered: delivery?.state === 'sent' || before?.delivered === true,
    refused: before?.refused ?? reason,
    rejected: (before?.rejected ?? 0) + newRejected(ride.raceId),
  }
}

// Kept with the ride: the outbox forgets its deliveries with the page.
watch(
  () => [...outbox.deliveries],
  (deliveries) => {
    for (const [raceId, { state }] of deliveries) {
      const ride = ownRide(raceId)
      const isNews =
        (state === 'sent' && !ride?.delivered) ||
        (state === 'refused' && ride?.refused === null) ||
        newRejected(raceId) > 0
      if (ride && isNews) keepRide(ride)
    }
  },
  { immediate: true },
)
