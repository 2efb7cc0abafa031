// @vitest-environment happy-dom
import { beforeEach, expect, it, vi } from 'vitest'
import { effectScope, ref } from 'vue'

import { raceBoard, races, type Race, type RaceBoard } from '../api/client'
import { ApiError } from '../api/request'
import type { ExploreAddress } from '../race/explore-address'
import { useRaces } from './useRaces'

vi.mock('../api/client', () => ({ races: vi.fn(), raceBoard: vi.fn() }))

function race(raceId: number, lastSecond = 5): Race {
  return { raceId, startedAt: raceId, racers: 1, lastSecond, finished: false } as Race
}

/** A race with this many standings. */
function board(raceId: number, rows = 1, lastSecond = 5): RaceBoard {
  const standings = Array.from({ length: rows }, (_, i) => ({ racerId: i + 1, rank: i + 1 }))
  return { ...race(raceId, lastSecond), racers: rows, standings } as RaceBoard
}

function open(raceId: number | null = null) {
  const start = { second: 1, whole: false, around: null, racers: null, race: raceId }
  const address = ref<ExploreAddress>(start)
  const place = { address, go: vi.fn(), adjust: vi.fn() }
  const page = effectScope().run(() => useRaces(1, place))!
  return { address, page }
}

/** Waits for all that is on its way. */
const settled = () => new Promise((resolve) => setTimeout(resolve))

beforeEach(() => {
  vi.mocked(races).mockReset().mockResolvedValue([])
  vi.mocked(raceBoard)
    .mockReset()
    .mockImplementation(async (_, raceId) => board(raceId))
})

it('lists the races when a service that was starting is there', async () => {
  vi.mocked(races).mockRejectedValueOnce(new ApiError('unready', 'starting'))
  const { page } = open()
  await settled()
  expect(page.all.value).toBeNull()
  vi.mocked(races).mockResolvedValue([race(1)])
  page.subscriber.opened?.()
  await settled()
  expect(page.all.value?.map(({ raceId }) => raceId)).toEqual([1])
})

it('says nothing of a race that is not open any more', async () => {
  let reject: (error: Error) => void = () => {}
  vi.mocked(raceBoard).mockReturnValueOnce(new Promise((_, fail) => (reject = fail)))
  const { address, page } = open(1)
  address.value.race = 2
  await settled()
  reject(new ApiError('missing', 'none'))
  await settled()
  expect(page.failure.value).toBe('')
  expect(page.opened.value?.raceId).toBe(2)
})

it('keeps the rows of the opened race when the list is loaded', async () => {
  const respond = new Map<number, (board: RaceBoard) => void>()
  vi.mocked(races).mockResolvedValue([race(1)])
  vi.mocked(raceBoard).mockImplementation(
    (_, _raceId, limit) => new Promise((resolve) => respond.set(limit, resolve)),
  )
  const { page } = open(1)
  await settled()
  respond.get(1000)?.(board(1, 150))
  await settled()
  respond.get(100)?.(board(1, 100))
  await settled()
  expect(page.opened.value?.standings).toHaveLength(150)
})

it('keeps what was pushed while an older state was loaded', async () => {
  vi.mocked(races).mockResolvedValue([race(1)])
  const { page } = open()
  await settled()
  let respond: (races: Race[]) => void = () => {}
  vi.mocked(races).mockReturnValue(new Promise((resolve) => (respond = resolve)))
  page.subscriber.opened?.()
  page.subscriber.standings?.(board(1, 1, 9))
  page.subscriber.standings?.(board(2, 1, 1))
  respond([race(1, 8), race(0)])
  await settled()
  const listed = page.listed.value.map(({ race }) => [race.raceId, race.lastSecond])
  expect(listed).toEqual([
    [2, 1],
    [1, 9],
    [0, 5],
  ])
})
