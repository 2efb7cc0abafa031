/** The recent rides of this device, newest first. */
import { useLocalStorage } from '@vueuse/core'
import { watch } from 'vue'

import type { OwnRide } from '../race/own-ride'
import { outbox } from './outbox'

/** Maximum number of rides that the device keeps: some 10 kB each. */
const RIDES_MAX = 10

function parseRides(text: string): OwnRide[] {
  try {
    const rides = JSON.parse(text) as OwnRide[]
    return Array.isArray(rides) ? rides.filter((ride) => Array.isArray(ride.outputs)) : []
  } catch {
    return []
  }
}

export const ownRides = useLocalStorage<OwnRide[]>('alleycat.rides', [], {
  serializer: { read: parseRides, write: JSON.stringify },
  shallow: true,
})

/** Keeps a ride, in place of an earlier version of it. A refusal stays, and one that came before the ride is taken over. */
export function keepRide(ride: OwnRide): void {
  const { raceId } = ride
  const refused = ride.refused ?? ownRide(raceId)?.refused ?? refusalOf(raceId)
  const others = ownRides.value.filter((other) => other.raceId !== raceId)
  const rides = [...others, { ...ride, refused }].sort((a, b) => b.raceId - a.raceId)
  ownRides.value = rides.slice(0, RIDES_MAX)
}

export function ownRide(raceId: number): OwnRide | null {
  return ownRides.value.find((ride) => ride.raceId === raceId) ?? null
}

/** Returns why the service refused a ride; null if it did not, or not while this page was open. */
function refusalOf(raceId: number): string | null {
  const delivery = outbox.deliveries.get(raceId)
  return delivery?.state === 'refused' ? (delivery.reason ?? '') : null
}

// A refusal is kept with the ride: the outbox forgets it with the page.
watch(
  () => [...outbox.deliveries.keys()].filter((raceId) => refusalOf(raceId) !== null),
  (refused) => {
    for (const raceId of refused) {
      const ride = ownRide(raceId)
      if (ride?.refused === null) keepRide(ride)
    }
  },
  { immediate: true },
)
