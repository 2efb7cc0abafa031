// @vitest-environment happy-dom
import { afterEach, beforeEach, expect, it, onTestFinished, vi } from 'vitest'
import { effectScope, ref, type EffectScope } from 'vue'

import { curve, leaderboard, records, type Curve, type Leaderboard } from '../api/client'
import { ApiError } from '../api/request'
import { FIRST_ADDRESS, type ExploreAddress } from '../race/explore-address'
import { newGuest, rider } from '../state/rider'
import { service, stateHash } from '../state/service.fake'
import { settled } from '../test-helpers'
import { useComparison } from './useComparison'

vi.mock('../api/client', () => ({ curve: vi.fn(), leaderboard: vi.fn(), records: vi.fn() }))
vi.mock('../state/service', () => import('../state/service.fake'))

const AWAY = new ApiError('away', 'away')
const HISTORY = { 1: { 7: 200 } } as never
const FIRST = { standings: [{ racerId: 7, name: 'Bo' }] } as unknown as Leaderboard

let scope: EffectScope
const go = vi.fn()

function open(address = ref<ExploreAddress>({ ...FIRST_ADDRESS })) {
  const place = { address, adjust: vi.fn(), go }
  return scope.run(() => useComparison(1, place))!
}

beforeEach(() => {
  scope = effectScope()
  stateHash.value = 'A'
  rider.value = newGuest()
  vi.mocked(records).mockReset().mockResolvedValue(HISTORY)
  vi.mocked(leaderboard).mockReset().mockResolvedValue(FIRST)
  vi.mocked(curve)
    .mockReset()
    .mockImplementation(async (_, racerId) => ({ racerId, seconds: [] }) as unknown as Curve)
})
afterEach(() => scope.stop())

it('is loaded after the next poll', async () => {
  vi.mocked(records).mockRejectedValueOnce(AWAY)
  vi.mocked(leaderboard).mockRejectedValueOnce(AWAY)
  const comparison = open()
  await settled()
  expect(comparison.lines.value).toEqual([])
  vi.mocked(curve).mockRejectedValueOnce(AWAY)
  service.now += 1
  await settled()
  expect(comparison.lines.value.map(({ label }) => label)).toEqual(['Class record', 'Bo'])
  expect(comparison.failure.value).toBe('away')
  service.now += 1
  await settled()
  expect(comparison.failure.value).toBe('')
  expect(comparison.points.value).toEqual([{ racerId: 7, point: null }])
  // Loaded parts are not loaded again.
  expect(vi.mocked(records)).toHaveBeenCalledTimes(2)
})

it('until the class record is loaded nothing beats it, and new bests raise what is loaded', async () => {
  let respond: (dataset: never) => void = () => {}
  vi.mocked(records).mockReturnValue(new Promise((resolve) => (respond = resolve)))
  const comparison = open()
  comparison.raiseClassRecords([
    { racerId: 8, second: 1, output: 210 },
    { racerId: 8, second: 2, output: 150 },
  ])
  expect(comparison.classRecordAt(1)?.output).toBe(Infinity)
  respond({ 1: { 7: 200 }, 2: { 7: 180 } } as never)
  await settled()
  expect([1, 2, 3].map(comparison.classRecordAt)).toEqual([
    { racerId: 8, output: 210 },
    { racerId: 7, output: 180 },
    null,
  ])
  comparison.raiseClassRecords([{ racerId: 8, second: 2, output: 190 }])
  expect(comparison.classRecordAt(2)?.output).toBe(190)
})

it('a racer who is added while another curve is loaded does not load that one again', async () => {
  let respond: (curve: Curve) => void = () => {}
  vi.mocked(curve).mockReturnValueOnce(new Promise((resolve) => (respond = resolve)))
  const address = ref<ExploreAddress>({ ...FIRST_ADDRESS, racers: [1] })
  open(address)
  address.value.racers = [1, 2]
  await settled()
  respond({ racerId: 1, seconds: [] } as unknown as Curve)
  await settled()
  expect(vi.mocked(curve).mock.calls.map(([, racerId]) => racerId)).toEqual([1, 2])
})

it('a curve of an earlier choice is not loaded once another is made', async () => {
  let respond: (curve: Curve) => void = () => {}
  vi.mocked(curve).mockReturnValueOnce(new Promise((resolve) => (respond = resolve)))
  const address = ref<ExploreAddress>({ ...FIRST_ADDRESS, racers: [1, 2] })
  open(address)
  address.value.racers = [3]
  await settled()
  respond({ racerId: 1, seconds: [] } as unknown as Curve)
  await settled()
  expect(vi.mocked(curve).mock.calls.map(([, racerId]) => racerId)).toEqual([1, 3])
})

it('a racer too many takes the place of the first one, and one who is there does not', async () => {
  const { racersWith } = open(ref({ ...FIRST_ADDRESS, racers: [1, 2, 3, 4, 5, 6] }))
  expect(racersWith(7)).toEqual([2, 3, 4, 5, 6, 7])
  expect(racersWith(2)).toEqual([1, 2, 3, 4, 5, 6])
})

it('follows the class: the record that was not pushed, and the curves', async () => {
  stateHash.value = undefined
  const comparison = open(ref({ ...FIRST_ADDRESS, racers: [7] }))
  await settled()
  stateHash.value = 'A'
  await settled()
  expect(vi.mocked(curve)).toHaveBeenCalledTimes(1)
  expect(vi.mocked(records)).toHaveBeenCalledTimes(1)
  const point = { second: 60, output: 230, rank: 1 }
  vi.mocked(curve).mockResolvedValue({ racerId: 7, seconds: [point] } as unknown as Curve)
  let respond: (dataset: never) => void = () => {}
  vi.mocked(records).mockReturnValue(new Promise((resolve) => (respond = resolve)))
  stateHash.value = 'B'
  await settled()
  expect(comparison.points.value).toEqual([{ racerId: 7, point }])
  // Pushed during the load: it may be newer than what is loaded.
  comparison.raiseClassRecords([{ racerId: 8, second: 2, output: 250 }])
  respond({ 1: { 7: 220 }, 2: { 7: 240 } } as never)
  await settled()
  expect([1, 2].map((second) => comparison.classRecordAt(second)?.output)).toEqual([220, 250])
})

it('what changes within 10 s of a load is loaded after them', async () => {
  vi.useFakeTimers()
  onTestFinished(() => void vi.useRealTimers())
  open()
  for (const hash of ['B', 'C', 'D']) {
    stateHash.value = hash
    await vi.advanceTimersByTimeAsync(1000)
  }
  expect(vi.mocked(records)).toHaveBeenCalledTimes(2)
  await vi.advanceTimersByTimeAsync(10_000)
  expect(vi.mocked(records)).toHaveBeenCalledTimes(3)
})

it('does not raise a record that is loaded later by a best before it, which may be erased', async () => {
  const comparison = open()
  await settled()
  comparison.raiseClassRecords([{ racerId: 8, second: 1, output: 300 }])
  expect(comparison.classRecordAt(1)?.output).toBe(300)
  stateHash.value = 'B'
  await settled()
  expect(comparison.classRecordAt(1)?.output).toBe(200)
})

it('racers of a class that was empty are suggested once it has some', async () => {
  vi.mocked(leaderboard).mockResolvedValueOnce({ ...FIRST, standings: [] })
  const comparison = open()
  await settled()
  expect(comparison.shared.value).toBeNull()
  stateHash.value = 'B'
  await settled()
  expect(comparison.shared.value).toEqual([7])
})

it('racers of a class that had some are not suggested again when it changes', async () => {
  const comparison = open()
  await settled()
  stateHash.value = 'B'
  await settled()
  expect(vi.mocked(leaderboard)).toHaveBeenCalledTimes(1)
  expect(comparison.shared.value).toEqual([7])
})

it.each([
  ['the rider and the best', false, 5, [5, 7]],
  ['the best once, who is the rider', false, 7, [7]],
  ['to a guest only the best', true, 5, [7]],
])('suggests %s', async (_, guest, racerId, suggested) => {
  rider.value = { racerId, name: '', guest }
  const comparison = open()
  await settled()
  expect(comparison.shared.value).toEqual(suggested)
})

it('a shared address names the suggested racers, once they are known, or those that were chosen', async () => {
  const address = ref<ExploreAddress>({ ...FIRST_ADDRESS })
  const comparison = open(address)
  expect(comparison.shared.value).toBeNull()
  await settled()
  expect(comparison.shared.value).toEqual([7])
  address.value.racers = []
  expect(comparison.shared.value).toEqual([])
})

it('the message of a curve that failed stays while it is tried again', async () => {
  vi.mocked(curve).mockRejectedValueOnce(AWAY)
  const comparison = open(ref({ ...FIRST_ADDRESS, racers: [7] }))
  await settled()
  let respond: (curve: Curve) => void = () => {}
  vi.mocked(curve).mockReturnValue(new Promise((resolve) => (respond = resolve)))
  service.now += 1
  await settled()
  expect(comparison.failure.value).toBe('away')
  respond({ racerId: 7, name: null, seconds: [] })
  await settled()
  expect(comparison.failure.value).toBe('')
})

it('a racer is removed by an address without it', () => {
  const comparison = open(ref({ ...FIRST_ADDRESS, racers: [7, 8, 9] }))
  void comparison.remove(8)
  expect(go).toHaveBeenLastCalledWith({ racers: [7, 9] })
})

it('has the curve of each racer, its point at the second, and no class record of an empty class', async () => {
  const points = [59, 60].map((second) => ({ second, output: second * 2 }))
  vi.mocked(curve).mockImplementation(async (_, racerId) => ({ racerId, seconds: points }) as never)
  vi.mocked(records).mockResolvedValue({})
  const comparison = open(ref({ ...FIRST_ADDRESS, second: 60, racers: [7, 8] }))
  expect(comparison.points.value.map(({ point }) => point)).toEqual([undefined, undefined])
  await settled()
  expect(comparison.points.value.map(({ point }) => point?.output)).toEqual([120, 120])
  const lines = comparison.lines.value.map(({ color, dash, values }) => [color, dash, ...values])
  expect(lines).toEqual([
    ['--you', [], [59, 118], [60, 120]],
    ['--line-a', [9, 4], [59, 118], [60, 120]],
  ])
})

it('curves are loaded once the state of the class is known', async () => {
  stateHash.value = undefined
  open(ref({ ...FIRST_ADDRESS, racers: [7] }))
  await settled()
  expect(curve).not.toHaveBeenCalled()
  stateHash.value = 'A'
  await settled()
  expect(curve).toHaveBeenCalledOnce()
})
