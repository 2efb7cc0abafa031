import { afterEach, beforeEach, expect, it } from 'vitest'
import { effectScope, nextTick, ref, shallowRef, type EffectScope } from 'vue'

import type { PacerOnPage } from './usePacer'
import type { RaceOnPage } from './useRace'
import { useRideAnnouncements } from './useRideAnnouncements'

let scope: EffectScope
beforeEach(() => {
  scope = effectScope()
})
afterEach(() => scope.stop())

function open() {
  const phase = ref('ready')
  const second = ref(0)
  const sample = shallowRef<object | null>(null)
  const samples = shallowRef<object[]>([])
  const race = { phase, second, sample, samples } as unknown as RaceOnPage
  /** The pacer's outputs by second. */
  const pace = new Map<number, number>()
  const gapAt = ({ second, output }: { second: number; output: number }) => {
    const other = pace.get(second)
    return other === undefined ? null : output - other
  }
  const pacer = { gapAt, label: ref('Median') } as unknown as PacerOnPage
  const said = scope.run(() => useRideAnnouncements(race, pacer))!
  const become = async (now: string) => {
    phase.value = now
    await nextTick()
    return said.value
  }
  /** Rides a second, and returns what is said then. */
  const ride = async (at: number, record = false, best: number | null = 180) => {
    const place = at === 30 ? { rank: 3, total: 1200 } : { rank: null, total: null }
    sample.value = { second: at, output: 200.4, best, record, ...place }
    samples.value = [...samples.value, sample.value]
    second.value = at
    await nextTick()
    return said.value
  }
  return { become, ride, pace }
}

it('says the changes of a ride', async () => {
  const { become } = open()
  for (const [phase, words] of [
    ['riding', 'Riding.'],
    ['paused', 'Paused.'],
    ['done', 'Finished. Your result is below.'],
    ['ready', 'You gave up.'],
  ] as const)
    expect(await become(phase)).toBe(words)
})

it('says the finish, and not a record at the last second', async () => {
  const { become, ride } = open()
  await become('riding')
  await ride(299)
  void ride(300, true)
  expect(await become('done')).toBe('Finished. Your result is below.')
})

it('says nothing of a ride that could not be loaded', async () => {
  const { become } = open()
  await become('loading')
  expect(await become('ready')).toBe('')
})

it('says output, place and gap of a second twice a minute, once its place may be known', async () => {
  const { become, ride, pace } = open()
  await become('riding')
  await ride(29)
  expect(await ride(30)).toBe('Riding.')
  expect(await ride(31)).toBe('0:30: output 200, 3rd of 1,200.')
  pace.set(60, 202.4)
  await ride(60)
  expect(await ride(61)).toMatch(/^1:00: output 200, 2.00 behind .*Median.*\.$/)
})

it('says the start of a run of records', async () => {
  const { become, ride } = open()
  await become('riding')
  await ride(1)
  expect(await ride(2, true)).toBe('Personal record at 0:02.')
  expect(await ride(3, true)).toBe('Personal record at 0:02.')
  await ride(4)
  expect(await ride(5, true)).toBe('Personal record at 0:05.')
})

it('does not call a second a personal record that the rider never rode before', async () => {
  const { become, ride } = open()
  await become('riding')
  await ride(1)
  expect(await ride(2, true, null)).toBe('Riding.')
  await ride(3)
  expect(await ride(4, true)).toBe('Personal record at 0:04.')
})
