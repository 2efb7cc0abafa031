// @vitest-environment happy-dom
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { effectScope, ref, type EffectScope } from 'vue'

import { raceBoard, racePage, type Race, type RaceBoard, type RacePage } from '../api/client'
import { ApiError } from '../api/request'
import { FIRST_ADDRESS, withChange, type ExploreAddress } from '../race/explore-address'
import { rider } from '../state/rider'
import { period, service, stateHash } from '../state/service.fake'
import { settled } from '../test-helpers'
import { BOARDS_MAX } from './recent-boards'
import { useRaces } from './useRaces'

vi.mock('../api/client', () => ({ racePage: vi.fn(), raceBoard: vi.fn() }))
vi.mock('../state/service', () => import('../state/service.fake'))

function race(raceId: number, lastSecond = 5): Race {
  return { raceId, startedAt: raceId, racers: 1, lastSecond, finished: false } as Race
}

/** A race with this many standings. */
function board(raceId: number, rows = 1, lastSecond = 5): RaceBoard {
  const standings = Array.from({ length: rows }, (_, i) => ({ racerId: i + 1, rank: i + 1 }))
  return { ...race(raceId, lastSecond), racers: rows, standings } as RaceBoard
}

function pageOf(races: Race[], next: string | null = null): RacePage {
  return { races, next, previous: null }
}

let scope: EffectScope

function open(change: Partial<ExploreAddress> = {}) {
  const address = ref<ExploreAddress>({ ...FIRST_ADDRESS, ...change })
  const adjust = (change: Partial<ExploreAddress>) => {
    address.value = withChange(address.value, change)
  }
  const place = { address, go: vi.fn(), adjust }
  const page = scope.run(() => useRaces(1, place))!
  return { address, page }
}

type OnPage = ReturnType<typeof open>['page']
const listed = (page: OnPage) => page.listed.value.map(({ race }) => [race.raceId, race.lastSecond])

beforeEach(() => {
  scope = effectScope()
  stateHash.value = undefined
  vi.mocked(racePage).mockReset().mockResolvedValue(pageOf([]))
  vi.mocked(raceBoard)
    .mockReset()
    .mockImplementation(async (_, raceId) => board(raceId))
})
afterEach(() => scope.stop())

it('lists the races when a service that was starting is there', async () => {
  vi.mocked(racePage).mockRejectedValueOnce(new ApiError('unready', 'starting'))
  const { page } = open()
  await settled()
  expect(page.page.value).toBeNull()
  expect(page.failure.value).toBe('starting')
  vi.mocked(racePage).mockResolvedValue(pageOf([race(1)]))
  page.subscriber.pushing?.()
  await settled()
  expect(listed(page)).toEqual([[1, 5]])
  expect(page.failure.value).toBe('')
})

it('loads an opened race again once a service that was starting pushes', async () => {
  vi.mocked(raceBoard).mockRejectedValueOnce(new ApiError('unready', 'starting'))
  const { page } = open({ race: 1 })
  await settled()
  expect(page.opened.failure.value).toBe('starting')
  page.subscriber.pushing?.()
  await settled()
  expect(page.opened.failure.value).toBe('')
})

it('a class without races has an empty list', async () => {
  const { page } = open()
  await settled()
  expect(page.page.value?.races).toEqual([])
  expect(racePage).toHaveBeenCalledOnce()
})

it('lists the page of the address', async () => {
  vi.mocked(racePage).mockResolvedValue(pageOf([race(1)]))
  const { address } = open({ races: 'A' })
  await settled()
  expect(racePage).toHaveBeenLastCalledWith(1, { limit: 8, cursor: 'A' })
  address.value.races = null
  await settled()
  expect(racePage).toHaveBeenLastCalledWith(1, { limit: 8 })
})

it.each([
  ['of another list', async () => Promise.reject(new ApiError('refused', 'invalid cursor'))],
  ['of races that are not kept any more', async () => pageOf([])],
])('a page %s becomes the newest one', async (_, respond) => {
  vi.mocked(racePage)
    .mockImplementationOnce(respond)
    .mockResolvedValue(pageOf([race(1)]))
  const { address, page } = open({ races: 'cursor' })
  await settled()
  expect(address.value.races).toBeNull()
  expect([listed(page), page.failure.value]).toEqual([[[1, 5]], ''])
  expect(racePage).toHaveBeenCalledTimes(2)
})

it('a page that the opened race does not have becomes the first one', async () => {
  vi.mocked(raceBoard).mockImplementation(async (_, raceId, { offset }) =>
    board(raceId, offset === 0 ? 2 : 0),
  )
  const { address, page } = open({ race: 1, rows: 50 })
  await settled()
  expect(address.value).toMatchObject({ race: 1, rows: 0 })
  expect(page.opened.rows.value).toHaveLength(2)
})

it('a page that the opened race does not have changes no address after the view was left', async () => {
  let respond: () => void = () => {}
  vi.mocked(raceBoard).mockReturnValue(
    new Promise((resolve) => (respond = () => resolve(board(1, 0)))),
  )
  const { address } = open({ race: 1, rows: 50 })
  await settled()
  scope.stop()
  respond()
  await settled()
  expect(address.value.rows).toBe(50)
})

it('says nothing of a load of the opened race that failed after a push', async () => {
  let reject: (error: Error) => void = () => {}
  vi.mocked(raceBoard).mockReturnValueOnce(new Promise((_, fail) => (reject = fail)))
  const { page } = open({ race: 1 })
  page.subscriber.standings?.(board(1, 3, 9))
  reject(new ApiError('away', 'away'))
  await settled()
  expect(page.opened.failure.value).toBe('')
  expect(page.opened.rows.value).toHaveLength(3)
})

it('a failure of the opened race stays while it is loaded again, and ends when the race is shown', async () => {
  vi.mocked(raceBoard).mockRejectedValue(new ApiError('missing', 'not found'))
  const { page } = open({ race: 1 })
  await settled()
  expect(page.opened.failure.value).toContain('any more')
  void page.opened.load()
  expect(page.opened.failure.value).toContain('any more')
  page.subscriber.standings?.(board(1, 3, 9))
  await settled()
  expect(page.opened.failure.value).toBe('')
})

it('a failure of the opened race ends when another race is opened', async () => {
  vi.mocked(raceBoard).mockRejectedValueOnce(new ApiError('missing', 'not found'))
  const { address, page } = open({ race: 1 })
  await settled()
  expect(page.opened.failure.value).not.toBe('')
  vi.mocked(raceBoard).mockReturnValue(new Promise(() => {}))
  address.value.race = 2
  await settled()
  expect(page.opened.failure.value).toBe('')
})

it('says nothing of a load of the opened race that failed while the next one waits', async () => {
  let reject: (error: Error) => void = () => {}
  vi.mocked(raceBoard).mockReturnValueOnce(new Promise((_, fail) => (reject = fail)))
  const { page } = open({ race: 1 })
  void page.opened.load()
  vi.mocked(raceBoard).mockReturnValue(new Promise(() => {}))
  reject(new ApiError('away', 'away'))
  await settled()
  expect(page.opened.failure.value).toBe('')
})

it('the own row follows the rider', async () => {
  vi.mocked(raceBoard).mockImplementation(async (_, raceId, { racers }) => {
    const own = { racerId: racers?.[0] ?? 0, rank: 70, output: 1, name: null }
    return racers ? { ...board(raceId), standings: [own] } : board(raceId, 2)
  })
  const { page } = open({ race: 1, rows: 50 })
  await settled()
  const before = rider.value
  rider.value = { racerId: 80, name: '', guest: false }
  await settled()
  expect(page.opened.rows.value.at(-1)?.racerId).toBe(80)
  rider.value = before
})

it.each([
  ['above', 3, [3, 51, 52]],
  ['below', 70, [51, 52, 70]],
])('shows the page of the standings, and the own row %s it', async (_, rank, ranks) => {
  const own = { racerId: rider.value.racerId, rank, output: 1, name: null }
  const standings = [51, 52].map((rank) => ({ ...own, racerId: rank, rank }))
  vi.mocked(raceBoard).mockImplementation(async (_, raceId, { racers }) => ({
    ...board(raceId),
    standings: racers ? [own] : standings,
  }))
  const { page } = open({ race: 1, rows: 50 })
  await settled()
  expect(raceBoard).toHaveBeenCalledWith(1, 1, { limit: 50, offset: 50 })
  expect(page.opened.rows.value.map(({ rank }) => rank)).toEqual(ranks)
})

it('the own row that is level with the page stands in the order of the racers', async () => {
  const before = rider.value
  rider.value = { racerId: 5, name: '', guest: false }
  const row = (racerId: number, rank: number) => ({ racerId, rank, output: 1, name: null })
  vi.mocked(raceBoard).mockImplementation(async (_, raceId, { racers }) => ({
    ...board(raceId),
    standings: racers ? [row(5, 51)] : [row(51, 51), row(52, 52)],
  }))
  const { page } = open({ race: 1, rows: 50 })
  await settled()
  expect(page.opened.rows.value.map(({ racerId }) => racerId)).toEqual([5, 51, 52])
  rider.value = before
})

it.each([
  [0, null, 50],
  [30, 0, 80],
  [50, 0, 100],
  [100, 50, null],
])('the pages beside the rows after %i begin at %s and %s', async (rows, previous, next) => {
  vi.mocked(raceBoard).mockImplementation(async (_, raceId) => ({
    ...board(raceId),
    racers: 120,
  }))
  const { page } = open({ race: 1, rows })
  await settled()
  expect(page.opened.pages.value).toEqual({ previous, next })
})

it('a whole race that is pushed is shown at once, and another page stays', async () => {
  const { address, page } = open({ race: 1 })
  await settled()
  page.subscriber.standings?.({ ...board(1, 2, 9), racers: 60 })
  expect(page.opened.rows.value).toHaveLength(1)
  page.subscriber.standings?.(board(1, 3, 9))
  expect(page.opened.rows.value).toHaveLength(3)
  address.value.rows = 50
  await settled()
  page.subscriber.standings?.(board(1, 4, 10))
  expect(page.opened.rows.value).toHaveLength(1)
})

it('keeps what was pushed while an older state was loaded', async () => {
  vi.mocked(racePage).mockResolvedValue(pageOf([race(1)]))
  const { page } = open()
  await settled()
  page.subscriber.standings?.(board(1, 1, 9))
  vi.mocked(racePage).mockResolvedValue(pageOf([race(2), race(1, 8), race(0)]))
  page.subscriber.standings?.(board(2, 1, 6))
  await settled()
  expect(listed(page)).toEqual([
    [2, 6],
    [1, 9],
    [0, 5],
  ])
})

it('an older race that is pushed does not load the list again', async () => {
  vi.mocked(racePage).mockResolvedValue(pageOf([race(7)], 'A'))
  const { page } = open()
  await settled()
  page.subscriber.standings?.(board(3))
  await settled()
  expect(racePage).toHaveBeenCalledTimes(1)
  expect(listed(page)).toEqual([[7, 5]])
})

it('an older race that is pushed loads the list again where the list has no more races', async () => {
  vi.mocked(racePage).mockResolvedValue(pageOf([race(7)]))
  const { page } = open()
  await settled()
  page.subscriber.standings?.(board(3))
  await settled()
  expect(racePage).toHaveBeenCalledTimes(2)
})

it('a new race that is pushed does not load a page of earlier races again', async () => {
  vi.mocked(racePage).mockResolvedValue(pageOf([race(7)]))
  const { page } = open({ races: 'A' })
  await settled()
  page.subscriber.standings?.(board(9))
  await settled()
  expect(racePage).toHaveBeenCalledTimes(1)
})

it('a listed race keeps its winner, however many other races are pushed', async () => {
  vi.mocked(racePage).mockResolvedValue(pageOf([race(1)]))
  const { page } = open({ races: 'A' })
  await settled()
  for (let raceId = 2; raceId <= BOARDS_MAX + 2; raceId++)
    page.subscriber.standings?.(board(raceId))
  expect(page.listed.value[0]?.first?.racerId).toBe(1)
})

it('a page that was left is not shown when it comes', async () => {
  let respond: (loaded: RacePage) => void = () => {}
  vi.mocked(racePage).mockReturnValueOnce(new Promise((resolve) => (respond = resolve)))
  vi.mocked(racePage).mockReturnValueOnce(new Promise(() => {}))
  const { address, page } = open({ races: 'A' })
  address.value.races = null
  await settled()
  respond(pageOf([race(1)]))
  await settled()
  expect(listed(page)).toEqual([])
})

it.each([
  ['empty', async () => pageOf([])],
  ['refused', async () => Promise.reject(new ApiError('refused', 'invalid cursor'))],
])('a page that is %s changes no address after the view was left', async (_, respond) => {
  let end: () => void = () => {}
  const left = new Promise<void>((resolve) => (end = resolve))
  vi.mocked(racePage).mockImplementationOnce(() => left.then(respond))
  const { address } = open({ races: 'A' })
  scope.stop()
  end()
  await settled()
  expect(address.value.races).toBe('A')
})

it('the boards of a page that was left are not loaded', async () => {
  let respond: (loaded: RaceBoard) => void = () => {}
  vi.mocked(racePage).mockResolvedValueOnce(pageOf([race(4), race(3)]))
  vi.mocked(racePage).mockResolvedValueOnce(pageOf([race(2)]))
  vi.mocked(raceBoard).mockReturnValueOnce(new Promise((resolve) => (respond = resolve)))
  const { address } = open()
  await settled()
  address.value.races = 'A'
  await settled()
  respond(board(4))
  await settled()
  expect(vi.mocked(raceBoard).mock.calls.map(([, raceId]) => raceId)).toEqual([4, 2])
})

it('says nothing of a load of the list that failed while the next one waited for it', async () => {
  let reject: (error: Error) => void = () => {}
  vi.mocked(racePage).mockReturnValueOnce(new Promise((_, fail) => (reject = fail)))
  vi.mocked(racePage).mockReturnValueOnce(new Promise(() => {}))
  const { page } = open()
  page.subscriber.closed?.()
  page.subscriber.pushing?.()
  reject(new ApiError('away', 'away'))
  await settled()
  expect(page.failure.value).toBe('')
})

it('a listed race is at the second of the list while its board is older', async () => {
  vi.mocked(racePage).mockResolvedValue(pageOf([race(1, 9)]))
  vi.mocked(raceBoard).mockResolvedValue(board(1, 1, 8))
  const { page } = open()
  await settled()
  expect(page.listed.value[0]?.first?.racerId).toBe(1)
  expect(listed(page)).toEqual([[1, 9]])
})

it('is loaded once where the address is opened directly, and again after a lost connection', async () => {
  const { page } = open()
  stateHash.value = 'A'
  await settled()
  page.subscriber.pushing?.()
  stateHash.value = 'B'
  await settled()
  expect(racePage).toHaveBeenCalledTimes(1)
  page.subscriber.closed?.()
  page.subscriber.pushing?.()
  await settled()
  expect(racePage).toHaveBeenCalledTimes(2)
})

it('lists a race with as many rows as are pushed, and what is pushed while they are loaded stays', async () => {
  let respond: (loaded: RaceBoard) => void = () => {}
  vi.mocked(racePage).mockResolvedValue(pageOf([race(1)]))
  vi.mocked(raceBoard).mockReturnValue(new Promise((resolve) => (respond = resolve)))
  const { page } = open()
  await settled()
  expect(raceBoard).toHaveBeenCalledWith(1, 1, { limit: 50 })
  const [first] = board(1).standings
  const pushed = { ...board(1), standings: [{ ...first, racerId: 9 }] } as RaceBoard
  page.subscriber.standings?.(pushed)
  respond(board(1, 2))
  await settled()
  expect(page.listed.value[0]?.first?.racerId).toBe(9)
})

it('a listed race whose board could not be loaded gets its winner after the next poll', async () => {
  vi.mocked(racePage).mockResolvedValue(pageOf([race(1)]))
  vi.mocked(raceBoard).mockRejectedValueOnce(new ApiError('away', 'away'))
  const { page } = open()
  await settled()
  expect(page.listed.value[0]?.first).toBeNull()
  service.now += 1
  await settled()
  expect(page.listed.value[0]?.first?.racerId).toBe(1)
})

it('a load of the opened race that began before a push does not replace it', async () => {
  let respond: (loaded: RaceBoard) => void = () => {}
  vi.mocked(raceBoard).mockReturnValueOnce(new Promise((resolve) => (respond = resolve)))
  const { page } = open({ race: 1 })
  page.subscriber.standings?.(board(1, 3, 9))
  respond(board(1, 2, 8))
  await settled()
  expect(page.opened.opened.value?.lastSecond).toBe(9)
})

it('a push that is older than the opened race does not replace it', async () => {
  vi.mocked(raceBoard).mockResolvedValue(board(1, 1, 9))
  const { page } = open({ race: 1 })
  await settled()
  page.subscriber.standings?.(board(1, 2, 8))
  expect(page.opened.rows.value).toHaveLength(1)
})

it('a race that is opened after another is shown as soon as it is pushed, and others are not', async () => {
  const { racerId } = rider.value
  const own = { ...board(1), standings: [{ racerId, rank: 2 }] } as RaceBoard
  vi.mocked(raceBoard).mockImplementation(async (_, raceId, { racers }) =>
    racers ? own : board(raceId, 1, 9),
  )
  const { address, page } = open({ race: 1 })
  await settled()
  expect(page.opened.rows.value.map((row) => row.racerId)).toEqual([1, racerId])
  vi.mocked(raceBoard).mockReturnValue(new Promise(() => {}))
  address.value.race = 2
  expect(page.opened.opened.value).toBeNull()
  page.subscriber.standings?.(board(2, 1, 5))
  page.subscriber.standings?.(board(3, 1, 9))
  expect(page.opened.opened.value?.raceId).toBe(2)
  expect(page.opened.rows.value.map((row) => row.racerId)).toEqual([1])
})

it('a page of the opened race that was left is not shown when it comes', async () => {
  let respond: (loaded: RaceBoard) => void = () => {}
  vi.mocked(raceBoard).mockReturnValueOnce(new Promise((resolve) => (respond = resolve)))
  const { address, page } = open({ race: 1, rows: 50 })
  vi.mocked(raceBoard).mockReturnValue(new Promise(() => {}))
  address.value.rows = 0
  await settled()
  respond(board(1))
  await settled()
  expect(page.opened.opened.value).toBeNull()
})

it('without pushes, the winner of a listed race is the one of its last second', async () => {
  stateHash.value = 'A'
  vi.mocked(racePage).mockResolvedValue(pageOf([race(3), race(2), race(1)]))
  const { page } = open()
  await settled()
  expect(page.listed.value.map(({ first }) => first?.racerId)).toEqual([1, 1, 1])
  const finished = { ...race(1), finished: true }
  vi.mocked(racePage).mockResolvedValue(pageOf([race(3), race(2, 6), finished]))
  const standings = [{ racerId: 9, rank: 1 }] as RaceBoard['standings']
  vi.mocked(raceBoard).mockImplementation(async (_, raceId) => {
    return { ...board(raceId, 1, 6), finished: true, standings }
  })
  stateHash.value = 'B'
  await settled()
  expect(page.listed.value.map(({ first }) => first?.racerId)).toEqual([1, 9, 9])
  // Nothing else is older than the list.
  expect(raceBoard).toHaveBeenCalledTimes(5)
})

it('a winner who came in behind the first racer is found without pushes, and after a lost connection', async () => {
  let winner = 1
  const finished = { ...race(1, 300), startedAt: Date.now(), finished: true }
  vi.mocked(raceBoard).mockImplementation(
    async () => ({ ...finished, standings: [{ racerId: winner, rank: 1 }] }) as never,
  )
  vi.mocked(racePage).mockImplementation(async () => pageOf([finished]))
  const { page } = open()
  const found = async () => {
    await settled()
    return page.listed.value[0]?.first?.racerId
  }
  stateHash.value = 'A'
  expect(await found()).toBe(1)
  winner = 2
  stateHash.value = 'B'
  expect(await found()).toBe(2)
  page.subscriber.pushing?.()
  page.subscriber.closed?.()
  winner = 3
  vi.mocked(raceBoard).mockRejectedValueOnce(new ApiError('unready', 'overloaded'))
  page.subscriber.pushing?.()
  expect(await found()).toBe(2)
  service.now += 1
  expect(await found()).toBe(3)
  // From then on it is pushed.
  const { length } = vi.mocked(raceBoard).mock.calls
  page.subscriber.standings?.({ ...board(2), startedAt: Date.now() })
  await found()
  expect(racePage).toHaveBeenCalledTimes(4)
  expect(raceBoard).toHaveBeenCalledTimes(length)
})

it('what a lost connection missed is loaded, also where a new list comes during the load', async () => {
  const startedAt = Date.now()
  const [first, second] = [race(1), race(2)].map((race) => ({ ...race, startedAt }))
  vi.mocked(racePage).mockImplementation(async () => pageOf([first!], 'next'))
  const { page } = open()
  await settled()
  page.subscriber.pushing?.()
  // Older than the page's list, which is not loaded again.
  page.subscriber.standings?.({ ...board(2), startedAt: startedAt - 1 })
  page.subscriber.closed?.()
  let respond: (loaded: RaceBoard) => void = () => {}
  vi.mocked(raceBoard).mockReturnValueOnce(new Promise((resolve) => (respond = resolve)))
  page.subscriber.pushing?.()
  await settled()
  vi.mocked(racePage).mockImplementation(async () => pageOf([first!, second!], 'next'))
  page.subscriber.pushing?.()
  await settled()
  respond(board(1))
  await settled()
  expect(raceBoard).toHaveBeenLastCalledWith(1, 2, { limit: 50 })
})

it('the opened race is loaded again after a lost connection', async () => {
  const { page } = open({ race: 1 })
  await settled()
  vi.mocked(raceBoard).mockImplementation(async (_, raceId) => board(raceId, 1, 9))
  page.subscriber.closed?.()
  page.subscriber.pushing?.()
  await settled()
  expect(page.opened.opened.value?.lastSecond).toBe(9)
})

it('what was missed is loaded after a lost connection, also where the list was loaded before it is back', async () => {
  stateHash.value = 'A'
  const { page } = open()
  page.subscriber.pushing?.()
  await settled()
  page.subscriber.closed?.()
  vi.mocked(racePage).mockResolvedValue(pageOf([race(1)]))
  stateHash.value = 'B'
  await settled()
  expect(listed(page)).toEqual([[1, 5]])
  vi.mocked(racePage).mockResolvedValue(pageOf([race(1, 9)]))
  page.subscriber.pushing?.()
  await settled()
  expect(listed(page)).toEqual([[1, 9]])
})

it('a late response of the opened race or of the list does not replace a newer one', async () => {
  let respondBoard: (loaded: RaceBoard) => void = () => {}
  vi.mocked(raceBoard).mockReturnValueOnce(new Promise((resolve) => (respondBoard = resolve)))
  vi.mocked(raceBoard).mockImplementation(async (_, raceId) => board(raceId, 1, 9))
  let respondPage: (loaded: RacePage) => void = () => {}
  vi.mocked(racePage).mockReturnValueOnce(new Promise((resolve) => (respondPage = resolve)))
  vi.mocked(racePage).mockResolvedValue(pageOf([race(2)]))
  const { page } = open({ race: 1 })
  await settled()
  page.subscriber.closed?.()
  page.subscriber.pushing?.()
  await settled()
  respondBoard(board(1, 1, 8))
  respondPage(pageOf([race(1)]))
  await settled()
  expect(page.opened.opened.value?.lastSecond).toBe(9)
  expect(listed(page)).toEqual([[2, 9]])
})

it('what a cache sent is loaded again at intervals, also while the service pushes', async () => {
  vi.mocked(racePage).mockResolvedValue(pageOf([race(1)]))
  stateHash.value = 'A'
  const { page } = open({ race: 1 })
  page.subscriber.pushing?.()
  await settled()
  const { length } = vi.mocked(raceBoard).mock.calls
  vi.mocked(racePage).mockResolvedValue(pageOf([race(1, 9)]))
  vi.mocked(raceBoard).mockImplementation(async (_, raceId) => board(raceId, 1, 9))
  stateHash.value = 'B'
  await settled()
  expect(raceBoard).toHaveBeenCalledTimes(length)
  period.value += 1
  await settled()
  expect(page.opened.opened.value?.lastSecond).toBe(9)
  expect(listed(page)).toEqual([[1, 9]])
})

it('the list and the opened race are loaded after the next poll where they could not be', async () => {
  vi.mocked(racePage).mockRejectedValueOnce(new ApiError('unready', 'starting'))
  vi.mocked(raceBoard).mockRejectedValueOnce(new ApiError('unready', 'starting'))
  const { page } = open({ race: 1 })
  await settled()
  expect([page.failure.value, page.opened.failure.value]).toEqual(['starting', 'starting'])
  vi.mocked(racePage).mockResolvedValue(pageOf([race(1)]))
  service.now += 1
  await settled()
  expect([page.failure.value, page.opened.failure.value]).toEqual(['', ''])
  expect(listed(page)).toEqual([[1, 5]])
  expect(page.opened.opened.value?.raceId).toBe(1)
})

it('a race that the service does not have is not asked for again before it is listed', async () => {
  stateHash.value = 'A'
  vi.mocked(raceBoard).mockRejectedValue(new ApiError('missing', 'no'))
  const { page } = open({ race: 1 })
  await settled()
  const { length } = vi.mocked(raceBoard).mock.calls
  page.subscriber.pushing?.()
  period.value += 1
  await settled()
  expect(page.opened.failure.value).toContain('does not have that race')
  expect(raceBoard).toHaveBeenCalledTimes(length)
  vi.mocked(racePage).mockResolvedValue(pageOf([race(1)]))
  vi.mocked(raceBoard).mockImplementation(async (_, raceId) => board(raceId))
  period.value += 1
  await settled()
  expect(page.opened.opened.value?.raceId).toBe(1)
})

/** Ends a period, in which the service sends races at this second. */
async function endPeriod(lastSecond: number): Promise<void> {
  vi.mocked(raceBoard).mockImplementation(async (_, raceId) => board(raceId, 1, lastSecond))
  period.value += 1
  await settled()
}

it('what is pushed is not replaced by an older board of a cache', async () => {
  stateHash.value = 'A'
  const { page } = open({ race: 1 })
  page.subscriber.pushing?.()
  await settled()
  page.subscriber.standings?.(board(1, 1, 9))
  await endPeriod(5)
  expect(page.opened.opened.value?.lastSecond).toBe(9)
  // Nothing was pushed since, so no cache has an older one.
  await endPeriod(10)
  expect(page.opened.opened.value?.lastSecond).toBe(10)
})

it('a race that was missing and is pushed is loaded again at intervals', async () => {
  stateHash.value = 'A'
  vi.mocked(raceBoard).mockRejectedValueOnce(new ApiError('missing', 'no'))
  const { page } = open({ race: 1 })
  await settled()
  page.subscriber.standings?.(board(1, 1, 9))
  await endPeriod(10)
  expect(page.opened.opened.value?.lastSecond).toBe(10)
})

it('says of each race who is first and what the rider’s place is', async () => {
  vi.mocked(racePage).mockResolvedValue(pageOf([race(1), race(2)]))
  vi.mocked(raceBoard).mockImplementation(async (_, raceId) => board(raceId, raceId + 1))
  const before = rider.value
  rider.value = { racerId: 3, name: '', guest: false }
  const { page } = open()
  await settled()
  const places = page.listed.value.map(({ first, own }) => [first?.rank, own?.rank])
  expect(places).toEqual([
    [1, undefined],
    [1, 3],
  ])
  rider.value = before
})

it('the opened race has the rider once, and no page after its last row', async () => {
  const before = rider.value
  rider.value = { racerId: 2, name: '', guest: false }
  vi.mocked(raceBoard).mockImplementation(async (_, raceId, { racers }) => {
    const whole = board(raceId, 50)
    return { ...whole, standings: racers ? whole.standings.slice(1, 2) : whole.standings }
  })
  const { page } = open({ race: 1 })
  await settled()
  expect(page.opened.rows.value).toHaveLength(50)
  expect(page.opened.pages.value.next).toBeNull()
  rider.value = before
})

it('an opened race is not loaded again by a connection that has missed nothing', async () => {
  const { page } = open({ race: 1 })
  await settled()
  vi.mocked(raceBoard).mockClear()
  page.subscriber.pushing?.()
  await settled()
  expect(raceBoard).not.toHaveBeenCalled()
})

it.each([
  ['a class that had no races', true, [], null, 1],
  ['a class whose list has all races', true, [race(5)], null, 1],
  ['a page that ends with an equally old race', true, [race(5)], 'next', 5],
  ['a page that ends with a newer race', false, [race(5)], 'next', 4],
])('a pushed race loads %s again: %s', async (_, loads, races, next, startedAt) => {
  vi.mocked(racePage).mockImplementation(async () => pageOf(races, next))
  const { page } = open()
  await settled()
  page.subscriber.standings?.({ ...board(9), startedAt })
  await settled()
  expect(racePage).toHaveBeenCalledTimes(loads ? 2 : 1)
})

it('what is pushed soon after a load is loaded a second after it', async () => {
  vi.useFakeTimers()
  vi.mocked(racePage).mockImplementation(async () => pageOf([]))
  const { page } = open()
  await vi.advanceTimersByTimeAsync(0)
  for (const raceId of [1, 2, 3]) page.subscriber.standings?.(board(raceId))
  await vi.advanceTimersByTimeAsync(500)
  expect(racePage).toHaveBeenCalledTimes(2)
  await vi.advanceTimersByTimeAsync(1000)
  expect(racePage).toHaveBeenCalledTimes(3)
  vi.useRealTimers()
})

it('a page of the opened race is loaded again for what is pushed, at most every two seconds', async () => {
  vi.useFakeTimers()
  const { page } = open({ race: 1, rows: 50 })
  await vi.advanceTimersByTimeAsync(0)
  vi.mocked(raceBoard).mockClear()
  for (const second of [6, 7, 8]) page.subscriber.standings?.(board(1, 1, second))
  await vi.advanceTimersByTimeAsync(1000)
  // The page, and the own row.
  expect(raceBoard).toHaveBeenCalledTimes(2)
  await vi.advanceTimersByTimeAsync(2000)
  expect(raceBoard).toHaveBeenCalledTimes(4)
  vi.useRealTimers()
})
