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

/** Keeps a ride, in place of an earlier version of it. */
export function keepRide(ride: OwnRide): void {
  const others = ownRides.value.filter(({ raceId }) => raceId !== ride.raceId)
  ownRides.value = [ride, ...others].slice(0, RIDES_MAX)
}

export function ownRide(raceId: number): OwnRide | null {
  return ownRides.value.find((ride) => ride.raceId === raceId) ?? null
}

// A refusal is kept with the ride: the outbox forgets it with the page.
watch(
  () => [...outbox.deliveries],
  (deliveries) => {
    for (const [raceId, { state, reason }] of deliveries) {
      const ride = ownRide(raceId)
      if (state === 'refused' && ride?.refused === null)
        keepRide({ ...ride, refused: reason ?? '' })
    }
  },
)
