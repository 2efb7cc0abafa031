import { beforeEach, describe, expect, it, vi } from 'vitest'

import { curve, history, leaderboard, records } from '../api/client'
import { ApiError } from '../api/request'
import { windowStart } from '../race/board'
import type { Effort } from '../race/dataset'
import { boardNow, loadSource } from './board-source'
import { requestNames } from './names'
import { reachable, service } from './service.fake'

vi.mock('../api/client', () => ({
  curve: vi.fn(),
  history: vi.fn(),
  leaderboard: vi.fn(),
  records: vi.fn(),
}))
vi.mock('./names', () => ({ applyNames: vi.fn(), requestNames: vi.fn() }))
vi.mock('./service', () => import('./service.fake'))

const RIDER = { racerId: 7, output: 200 }
const SUMMARY = { classId: 1, historyBytes: 1 } as Parameters<typeof loadSource>[0]

beforeEach(() => {
  reachable.value = true
  vi.mocked(leaderboard)
    .mockReset()
    .mockResolvedValue({ standings: [] } as never)
  vi.mocked(history).mockResolvedValue({ 5: { 7: 150, 8: 180 } })
})

describe('the boards of a ride whose history is loaded', () => {
  /** Returns the rank at a second with 200, and whether it is as of the start. */
  async function open(isRealTime = true) {
    const source = await loadSource(SUMMARY, 7, () => isRealTime, vi.fn())
    const at = async () => {
      const { value, asOfStart } = await source.board(5, 200, 9)
      return [value.rank, asOfStart]
    }
    return { source, at }
  }

  it('are the service’s, with what others rode since, and the bests to beat stay', async () => {
    const { source, at } = await open()
    serve(200)
    expect(await at()).toEqual([2, false])
    // The history would stand in after 2 s.
    expect(leaderboard).toHaveBeenLastCalledWith(1, expect.anything(), 2000)
    const group = await source.group(5, 200, [8])
    expect(group.asOfStart).toBe(false)
    expect(group.value.map(({ racerId, rank }) => [racerId, rank])).toEqual([
      [8, 1],
      [7, 2],
    ])
    expect(source.best(5)).toBe(150)
    expect(source.classRecord(5)).toEqual({ racerId: 8, output: 180 })
  })

  it('have a record also when it is stored by then', async () => {
    const { source } = await open()
    serve(200)
    expect((await source.board(5, 200, 9)).value.record).toBe(true)
  })

  it('have the rider once, at an output below the own best', async () => {
    const { source } = await open()
    serve(150)
    const { value } = await source.group(5, 140, [7, 8])
    expect(value.map(({ racerId, rank }) => [racerId, rank])).toEqual([
      [8, 1],
      [7, 3],
    ])
  })

  it('have the live output, also where another ride has raised the own best since', async () => {
    const { source, at } = await open()
    serve(250)
    expect(await at()).toEqual([2, false])
    const { value } = await source.board(5, 200, 9)
    expect(value.rows.map(({ racerId, output }) => [racerId, output])).toEqual([
      [8, 210],
      [7, 200],
      [9, 190],
    ])
    expect([value.total, value.record]).toEqual([3, false])
    const group = await source.group(5, 200, [8])
    expect(group.value.map(({ racerId, output, rank }) => [racerId, output, rank])).toEqual([
      [8, 210, 1],
      [7, 200, 2],
    ])
  })

  it.each([
    ['on the page', 9, [1, 2, 3]],
    ['above it', 2, [2, 3]],
  ])('below an own best that was raised since and is %s', async (_, size, ranks) => {
    const { source } = await open()
    serve(250)
    const { value } = await source.board(5, 140, size)
    expect(value.rows.map(({ rank }) => rank)).toEqual(ranks)
    expect([value.rank, value.total]).toEqual([3, 3])
    const group = await source.group(5, 140, [9])
    expect(group.value).toEqual([
      { racerId: 9, output: 190, rank: 2, groupRank: 1 },
      { racerId: 7, output: 140, rank: 3, groupRank: 2 },
    ])
  })

  it.each([
    ['of the whole board', 140, 9, [1, 2, 3, 4], 3],
    ['of the top of a board', 200, 2, [1, 2], 2],
  ])(
    'count no own best that was erased since, in the ranks %s',
    async (_, output, size, ranks, rank) => {
      vi.mocked(history).mockResolvedValue({ 5: { 7: 250, 8: 180 } })
      const { source } = await open()
      serve(null, { racerId: 10, output: 120 })
      const { value } = await source.board(5, output, size)
      expect(value.rows.map(({ rank }) => rank)).toEqual(ranks)
      expect([value.rank, value.total, value.record]).toEqual([rank, 4, false])
      const group = await source.group(5, output, [8])
      expect(group.value.map(({ racerId, rank }) => [racerId, rank])).toEqual([
        [8, 1],
        [7, rank],
      ])
    },
  )

  it('have the rider behind those who are level, with the rows around that place', async () => {
    const { source } = await open()
    const level = Array.from({ length: 12 }, (_, i) => ({ racerId: 20 + i, output: 140 }))
    serve(150, ...level, { racerId: 40, output: 130 })
    const { value } = await source.board(5, 140, 5)
    expect(value.rows.map(({ racerId, rank }) => [racerId, rank])).toEqual([
      [29, 3],
      [30, 3],
      [31, 3],
      [7, 3],
      [40, 16],
    ])
  })

  it('keep the ranks of those who are level with an own best above the page', async () => {
    const { source } = await open()
    vi.mocked(leaderboard).mockResolvedValue({
      total: 9,
      standings: [
        { racerId: 20, output: 150, rank: 1 },
        { racerId: Number.MAX_SAFE_INTEGER, output: 140, rank: 9 },
      ],
    } as never)
    const { value } = await source.board(5, 140, 2)
    expect(value.rows.map(({ rank }) => rank)).toEqual([1, 8])
  })

  it('are the history’s while the service does not respond, which is asked once a poll', async () => {
    const { source, at } = await open()
    const errors = [
      new ApiError('away', 'no'),
      new ApiError('unready', 'no'),
      new SyntaxError('<html>'),
    ]
    for (const error of errors) {
      service.now += 1
      vi.mocked(leaderboard).mockReset().mockRejectedValue(error)
      expect(await at()).toEqual([1, true])
      expect(await at()).toEqual([1, true])
      const group = await source.group(5, 160, [8])
      expect(group.asOfStart).toBe(true)
      expect(group.value.map(({ racerId }) => racerId)).toEqual([8, 7])
      expect(leaderboard).toHaveBeenCalledTimes(1)
    }
    service.now += 1
    serve(null)
    expect(await at()).toEqual([2, false])
  })

  it.each([
    ['known to be away', true, false],
    ['asked by a ride faster than real time', false, true],
  ])('are the history’s while the service is %s', async (_, isRealTime, isReachable) => {
    const { at } = await open(isRealTime)
    reachable.value = isReachable
    expect(await at()).toEqual([1, true])
    expect(leaderboard).not.toHaveBeenCalled()
  })

  it('fail where the request itself is at fault', async () => {
    const { at } = await open()
    vi.mocked(leaderboard).mockRejectedValue(new ApiError('refused', 'no'))
    await expect(at()).rejects.toThrow('no')
  })
})

/** The board of a service that stores `best` as the rider's own, and 210, 190 and what is `more` of others. */
function serve(best: number | null, ...more: Effort[]): void {
  vi.mocked(leaderboard).mockImplementation(async (_, query) => {
    const { racers, racerId = 0, output = 0, around, limit = 100 } = query
    const stored = [
      { racerId: 8, output: 210 },
      { racerId: 9, output: 190 },
      ...more,
      ...(best === null ? [] : [{ racerId: 7, output: best }]),
    ]
    const others = stored.filter((row) => row.racerId !== racerId || row.output > output)
    const isBeaten = others.every((row) => row.racerId !== racerId)
    const all = [...others, ...(isBeaten ? [{ racerId, output }] : [])]
    const sorted = all.sort((a, b) => b.output - a.output || a.racerId - b.racerId)
    const rankOf = (output: number) => 1 + all.filter((row) => row.output > output).length
    const standings = sorted
      .map((row) => ({ ...row, rank: rankOf(row.output) }))
      .filter((row) => !racers || racers.includes(row.racerId))
    const place = standings.findIndex((row) => row.racerId === around)
    const start = windowStart(place, standings.length, limit)
    return { total: all.length, standings: standings.slice(start, start + limit) } as never
  })
}

it.each([
  ['before the ride is stored', null, 1],
  ['once the ride is stored', 200, 1],
  ['below an earlier best', 250, 2],
  ['just below an earlier best', 205, 2],
  ['above an earlier best', 100, 1],
])('the place now is that of the last output %s', async (_, best, requests) => {
  serve(best)
  const { rank, total, rows } = await boardNow(1, 300, RIDER, 3)
  expect([rank, total]).toEqual([2, 3])
  expect(leaderboard).toHaveBeenCalledTimes(requests)
  expect(rows.map(({ racerId }) => racerId)).toEqual([8, 7, 9])
})

it('a ride in a large class begins also without the class records', async () => {
  const seconds = [{ second: 5, output: 150, rank: 1, total: 1, percentile: 100 }]
  vi.mocked(curve).mockResolvedValue({ racerId: 7, name: null, seconds })
  vi.mocked(records).mockRejectedValue(new ApiError('unready', 'no'))
  const large = { ...SUMMARY, historyBytes: 1e9 }
  const source = await loadSource(large, 7, () => true, vi.fn())
  expect([source.best(5), source.classRecord(5)]).toEqual([150, null])
  serve(150)
  const { value, asOfStart } = await source.board(5, 200, 9)
  expect([value.rank, asOfStart]).toEqual([2, false])
})

it.each([
  ['waits for a second where the ride is faster than real time', 1e9, false, 1000],
  ['does not wait in real time', 1e9, true, 0],
  ['does not wait where the history is loaded', 1, false, 0],
])('the next board %s', async (_, historyBytes, isRealTime, waitMs) => {
  vi.useFakeTimers()
  vi.mocked(curve).mockResolvedValue({ racerId: 7, name: null, seconds: [] })
  vi.mocked(records).mockResolvedValue({})
  const source = await loadSource({ ...SUMMARY, historyBytes }, 7, () => isRealTime, vi.fn())
  const rested = vi.fn()
  void source.rest().then(rested)
  await vi.advanceTimersByTimeAsync(Math.max(0, waitMs - 1))
  expect(rested).toHaveBeenCalledTimes(waitMs > 0 ? 0 : 1)
  await vi.advanceTimersByTimeAsync(1)
  expect(rested).toHaveBeenCalledOnce()
  vi.useRealTimers()
})

it('says which share of the history has arrived: at most all of it', async () => {
  vi.mocked(history).mockImplementationOnce(async (_, onArrived) => {
    ;[50, 200, 300].forEach((bytes) => onArrived(bytes))
    return {}
  })
  const onProgress = vi.fn()
  await loadSource({ ...SUMMARY, historyBytes: 200 }, 7, () => true, onProgress)
  expect(onProgress.mock.calls.flat()).toEqual([0.25, 1, 1])
})

it('the rivals of a ride in a large class are the service’s', async () => {
  vi.mocked(curve).mockResolvedValue({ racerId: 7, name: null, seconds: [] })
  vi.mocked(records).mockResolvedValue({ 5: { 8: 210 } })
  const source = await loadSource({ ...SUMMARY, historyBytes: 1e9 }, 7, () => true, vi.fn())
  expect(source.classRecord(5)).toEqual({ racerId: 8, output: 210 })
  serve(null)
  const { value, asOfStart } = await source.group(5, 200, [9])
  expect(asOfStart).toBe(false)
  expect(value.map(({ racerId, rank }) => [racerId, rank])).toEqual([
    [7, 2],
    [9, 3],
  ])
})

it('asks for the names of the racers on a board of the history, which has none', async () => {
  const source = await loadSource(SUMMARY, 7, () => false, vi.fn())
  vi.mocked(requestNames).mockClear()
  await source.board(5, 200, 9)
  expect(requestNames).toHaveBeenCalledExactlyOnceWith(1, [7, 8])
})
