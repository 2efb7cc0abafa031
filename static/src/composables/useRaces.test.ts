// @vitest-environment happy-dom
import { beforeEach, expect, it, vi } from 'vitest'
import { effectScope, ref } from 'vue'

import { raceBoard, races, type Race, type RaceBoard } from '../api/client'
import { ApiError } from '../api/request'
import type { ExploreAddress } from '../race/explore-address'
import { useRaces } from './useRaces'

vi.mock('../api/client', () => ({ races: vi.fn(), raceBoard: vi.fn() }))

function race(raceId: number): Race {
  return { raceId, startedAt: raceId, racers: 1, lastSecond: 5, finished: false } as Race
}

/** A race with this many standings. */
function board(raceId: number, rows = 1): RaceBoard {
  const standings = Array.from({ length: rows }, (_, i) => ({ racerId: i + 1, rank: i + 1 }))
  return { ...race(raceId), racers: rows, standings } as RaceBoard
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
