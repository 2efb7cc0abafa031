/** The recent rides of this device, newest first. */
import { computed, shallowReactive, shallowRef, watch } from 'vue'

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

/** Returns the rides that the device stores. Removes those that cannot be read. */
function storedRides(): OwnRide[] {
  const keys = Object.keys(storage ?? {}).filter((key) => key.startsWith(PREFIX))
  return keys.flatMap((key) => {
    const ride = parseRide(storage?.getItem(key) ?? '')
    if (!ride) storage?.removeItem(key)
    return ride ?? []
  })
}

const rides = shallowRef<readonly OwnRide[]>([])
export const ownRides = computed(() => rides.value)

/** Shows the newest rides, and removes the others from the device. */
function keepNewest(found: readonly OwnRide[]): void {
  const newestFirst = [...found].sort((a, b) => b.raceId - a.raceId)
  rides.value = newestFirst.slice(0, RIDES_MAX)
  for (const { raceId } of newestFirst.slice(RIDES_MAX)) storage?.removeItem(PREFIX + raceId)
}

/** The races of rides that the storage did not take. The device has no version of such a ride, or an earlier one. */
const unstored = shallowReactive(new Set<number>())

/** Returns whether the storage did not take the ride of a race as it is in the list. */
export function isUnstored(raceId: number): boolean {
  return unstored.has(raceId)
}

keepNewest(storedRides())
// Of another tab. The key is null if it has cleared the storage.
addEventListener('storage', ({ key }) => {
  if (key !== null && !key.startsWith(PREFIX)) return
  const own = key === null ? [] : rides.value.filter(({ raceId }) => unstored.has(raceId))
  const others = storedRides().filter(({ raceId }) => own.every((ride) => ride.raceId !== raceId))
  keepNewest([...own, ...others])
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
  const others = rides.value.filter(({ raceId }) => raceId !== ride.raceId)
  const kept = withDelivery(ride)
  addedRejected.set(ride.raceId, outbox.deliveries.get(ride.raceId)?.rejected ?? 0)
  // First, because it makes room.
  keepNewest([...others, kept])
  if (!rides.value.includes(kept)) return
  if (store(kept)) unstored.delete(ride.raceId)
  else unstored.add(ride.raceId)
}

/** Stores a ride on the device. Returns false where the storage is denied or full. */
function store(ride: OwnRide): boolean {
  try {
    storage?.setItem(PREFIX + ride.raceId, JSON.stringify(ride))
    return storage !== null
  } catch {
    return false
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
    anyTaken: before?.anyTaken === true || delivery?.anyTaken === true,
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
