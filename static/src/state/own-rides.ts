/** The recent rides of this device, newest first. */
import { computed, shallowRef, watch } from 'vue'

import type { OwnRide } from '../race/own-ride'
import { storageOf } from '../storage'
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

/** With the race's id: the key of a ride. Two tabs that close at once would write over each other's rides in one list. */
const PREFIX = 'alleycat.rides.'

const storage = storageOf('localStorage')

/** Returns a ride as it is stored; null if it has other columns, as an earlier page may have stored it. */
export function parseRide(text: string): OwnRide | null {
  try {
    const ride = JSON.parse(text) as OwnRide | null
    return ride !== null && COLUMNS.every((column) => Array.isArray(ride[column])) ? ride : null
  } catch {
    return null
  }
}

/** Returns the rides of the device, newest first. */
function storedRides(): OwnRide[] {
  const keys = Object.keys(storage ?? {}).filter((key) => key.startsWith(PREFIX))
  const rides = keys.map((key) => parseRide(storage?.getItem(key) ?? ''))
  return newestFirst(rides.filter((ride) => ride !== null))
}

function newestFirst(rides: readonly OwnRide[]): OwnRide[] {
  return [...rides].sort((a, b) => b.raceId - a.raceId)
}

const rides = shallowRef<readonly OwnRide[]>([])
export const ownRides = computed(() => rides.value)

/** Shows the newest rides. The device keeps no others. */
function show(found: readonly OwnRide[]): void {
  rides.value = found.slice(0, RIDES_MAX)
  for (const { raceId } of found.slice(RIDES_MAX)) storage?.removeItem(PREFIX + raceId)
}

show(storedRides())
// Of another tab. The key is null if it has cleared the storage.
addEventListener('storage', ({ key }) => {
  if (key === null) show(storedRides())
  else if (key.startsWith(PREFIX)) show(newestFirst([...storedRides(), ...unstoredRides()]))
})

/** Returns the rides that only this page has: the storage had no room for them. */
function unstoredRides(): OwnRide[] {
  return rides.value.filter(({ raceId }) => storage?.getItem(PREFIX + raceId) === null)
}

/** Number of rejected records by race that this page has added to the kept ride. */
const addedRejected = new Map<number, number>()

/** Returns how many records were rejected on this page and are not added to the kept ride yet. */
function newRejected(raceId: number): number {
  const { rejected = 0 } = outbox.deliveries.get(raceId) ?? {}
  return Math.max(0, rejected - (addedRejected.get(raceId) ?? 0))
}

/** Keeps a ride, in place of an earlier version of it. */
export function keepRide(ride: OwnRide): void {
  const others = rides.value.filter(({ raceId }) => raceId !== ride.raceId)
  const kept = withDelivery(ride)
  addedRejected.set(ride.raceId, outbox.deliveries.get(ride.raceId)?.rejected ?? 0)
  // First, because it makes room.
  show(newestFirst([...others, kept]))
  if (!rides.value.includes(kept)) return
  try {
    storage?.setItem(PREFIX + ride.raceId, JSON.stringify(kept))
  } catch {
    // The storage is full. The ride is in the list until the page is closed.
  }
}

export function ownRide(raceId: number): OwnRide | null {
  return rides.value.find((ride) => ride.raceId === raceId) ?? null
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
