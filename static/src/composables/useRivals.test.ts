// @vitest-environment happy-dom
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { computed, effectScope, ref, shallowRef, type EffectScope } from 'vue'

import { leaderboard, type Leaderboard } from '../api/client'
import { ApiError } from '../api/request'
import type { Sample } from '../race/ride'
import type { BoardSource, Sourced } from '../state/board-source'
import { rider } from '../state/rider'
import { addRival, rivals } from '../state/rivals'
import { service, stateHash } from '../state/service.fake'
import { settled } from '../test-helpers'
import { useRivals } from './useRivals'

vi.mock('../api/client', () => ({ leaderboard: vi.fn() }))
vi.mock('../state/service', () => import('../state/service.fake'))

const WHOLE = { racerId: 8, output: 200, rank: 3, groupRank: 1 }

let scope: EffectScope

function open() {
  const racing = ref(false)
  const sample = ref<Sample | null>(null)
  const group = vi.fn<BoardSource['group']>()
  const rest = vi.fn(async () => {})
  const source = shallowRef({ group, rest } as unknown as BoardSource)
  const identity = shallowRef(rider.value)
  const race = {
    racing: computed(() => racing.value),
    sample: computed(() => sample.value),
    source,
    identity,
  }
  const used = scope.run(() => useRivals(1, race))!
  return { racing, sample, identity, group, rest, used }
}

beforeEach(() => {
  stateHash.value = 'A'
  scope = effectScope()
  rivals.value = [{ racerId: 8, name: 'Bo' }]
  const standings = [{ ...WHOLE, name: 'Bo' }]
  vi.mocked(leaderboard)
    .mockReset()
    .mockResolvedValue({ standings } as unknown as Leaderboard)
})

afterEach(() => scope.stop())

it('has the whole race before a race, with the rider in it', async () => {
  const { used } = open()
  await settled()
  const racers = [8, rider.value.racerId]
  expect(leaderboard).toHaveBeenCalledWith(1, { racers, limit: 2 })
  expect(used.rows.value).toEqual([WHOLE])
  expect([used.second.value, used.asOfStart.value]).toEqual([null, false])
})

it('asks for no board without rivals', async () => {
  rivals.value = []
  const { used } = open()
  await settled()
  expect(leaderboard).not.toHaveBeenCalled()
  expect([used.rows.value, used.asOfStart.value, used.state.value]).toEqual([[], false, 'loaded'])
})

it('is loaded again for another rider', async () => {
  const { identity } = open()
  await settled()
  identity.value = { ...rider.value, racerId: 77 }
  await settled()
  expect(leaderboard).toHaveBeenLastCalledWith(1, { racers: [8, 77], limit: 2 })
})

it('asks for one second at a time, and then for the latest', async () => {
  const { racing, sample, group, used } = open()
  await settled()
  let respond: (rows: Sourced<(typeof WHOLE)[]>) => void = () => {}
  group.mockImplementation(() => new Promise((resolve) => (respond = resolve)))
  racing.value = true
  for (let second = 1; second <= 5; second++) {
    sample.value = { second, output: 100 } as Sample
    await settled()
  }
  expect(group).toHaveBeenCalledTimes(1)
  respond({ value: [WHOLE], asOfStart: true })
  await settled()
  expect(used.asOfStart.value).toBe(true)
  expect(used.second.value).toBe(1)
  expect(group).toHaveBeenCalledTimes(2)
  expect(group).toHaveBeenLastCalledWith(5, 100, [8])
})

it('asks for the latest second once the source has rested', async () => {
  const { racing, sample, group, rest } = open()
  await settled()
  group.mockResolvedValue({ value: [WHOLE], asOfStart: false })
  let endRest: () => void = () => {}
  rest.mockReturnValueOnce(new Promise((resolve) => (endRest = resolve)))
  racing.value = true
  for (const second of [1, 2, 3]) {
    sample.value = { second, output: 100 } as Sample
    await settled()
  }
  expect(group.mock.calls.map(([second]) => second)).toEqual([1])
  endRest()
  await settled()
  expect(group.mock.calls.map(([second]) => second)).toEqual([1, 3])
})

it('does not show rows of an earlier choice', async () => {
  const responds: ((racerId: number) => void)[] = []
  vi.mocked(leaderboard).mockImplementation(
    () =>
      new Promise((resolve) =>
        responds.push((racerId) => resolve({ standings: [{ ...WHOLE, racerId }] } as never)),
      ),
  )
  const { used } = open()
  addRival({ racerId: 9, name: 'Cy' })
  await settled()
  responds[0]?.(8)
  await settled()
  expect(used.rows.value).toEqual([])
  // Nothing is known of them yet.
  expect(used.loadedIds.value).toEqual([])
  responds[1]?.(9)
  await settled()
  expect(used.rows.value.map(({ racerId }) => racerId)).toEqual([9])
  expect(used.loadedIds.value).toEqual([8, 9])
})

it('does not show rows of a race that is over', async () => {
  const { racing, sample, group, used } = open()
  await settled()
  let respond: (rows: Sourced<(typeof WHOLE)[]>) => void = () => {}
  group.mockImplementation(() => new Promise((resolve) => (respond = resolve)))
  racing.value = true
  sample.value = { second: 1, output: 100 } as Sample
  await settled()
  vi.mocked(leaderboard).mockReturnValue(new Promise(() => {}))
  racing.value = false
  sample.value = null
  respond({ value: [{ ...WHOLE, rank: 1 }], asOfStart: false })
  await settled()
  expect(used.rows.value).toEqual([WHOLE])
  expect(used.second.value).toBeNull()
})

it('keeps its rows while the service is away, and is loaded after the next poll', async () => {
  const { used } = open()
  await settled()
  vi.mocked(leaderboard).mockRejectedValueOnce(new ApiError('away', 'away'))
  addRival({ racerId: 9, name: 'Cy' })
  await settled()
  expect(used.state.value).toBe('failed')
  expect(used.rows.value).toEqual([WHOLE])
  service.now += 1
  await settled()
  expect(used.state.value).toBe('loaded')
})

it('is loaded once where the address is opened before the classes are known', async () => {
  stateHash.value = undefined
  open()
  await settled()
  stateHash.value = 'A'
  await settled()
  expect(leaderboard).toHaveBeenCalledTimes(1)
})

it('is not loaded again in a race when the class has changed', async () => {
  const { racing, sample, group } = open()
  group.mockResolvedValue({ value: [WHOLE], asOfStart: false })
  racing.value = true
  sample.value = { second: 1, output: 100 } as Sample
  await settled()
  stateHash.value = 'B'
  await settled()
  expect(group).toHaveBeenCalledTimes(1)
})

it('is not loaded while the page is hidden, and once when it is shown again', async () => {
  const show = (state: DocumentVisibilityState) => {
    Object.defineProperty(document, 'visibilityState', { value: state, configurable: true })
    document.dispatchEvent(new Event('visibilitychange'))
  }
  const { racing, sample, group, used } = open()
  group.mockResolvedValue({ value: [WHOLE], asOfStart: false })
  show('hidden')
  racing.value = true
  for (const second of [1, 2, 3]) {
    sample.value = { second, output: 100 } as Sample
    await settled()
  }
  expect(group).not.toHaveBeenCalled()
  show('visible')
  await settled()
  expect(group).toHaveBeenCalledTimes(1)
  expect(used.second.value).toBe(3)
})
