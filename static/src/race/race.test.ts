import { describe, expect, it } from 'vitest'

import { autopilot, near } from './autopilot'
import {
  groupBoard,
  isRecord,
  liveBoard,
  nextPlace,
  ranked,
  windowStart,
  withoutOwnBest,
} from './board'
import { minutes, RaceClock } from './clock'
import { byOutput, History, type Effort } from './dataset'
import { CADENCE, output, RESISTANCE } from './output'
import { result, Ride } from './ride'

/** A generator of numbers from 0 to 1 that repeats itself in every run. */
function chance(seed: number): () => number {
  return () => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0
    return seed / 2 ** 32
  }
}

describe('output', () => {
  it('is the formula of the service, never rounded', () => {
    expect(output(80, 78)).toBe(164.45)
    expect(output(81, 43)).toBe(((81 + 35) * (43 + 65)) / 100)
    expect(output(0, 0)).toBe(22.75)
  })
})

describe('history', () => {
  const history = new History({ '2': { '9': 10, '3': 20, '12': 20 }, '1': { '3': 5 } })

  it('stands in the order of the boards', () => {
    expect(history.at(2)).toEqual([
      { racerId: 3, output: 20 },
      { racerId: 12, output: 20 },
      { racerId: 9, output: 10 },
    ])
    expect(history.at(7)).toEqual([])
  })

  it('knows bests, curves and records', () => {
    expect(history.best(2, 9)).toBe(10)
    expect(history.best(1, 9)).toBeNull()
    expect([...history.curve(3)]).toEqual([
      [1, 5],
      [2, 20],
    ])
    expect([...history.classRecords()]).toEqual([
      [1, { racerId: 3, output: 5 }],
      [2, { racerId: 3, output: 20 }],
    ])
    expect(history.seconds()).toEqual([1, 2])
  })
})

describe('the board with the rider in it', () => {
  const efforts: Effort[] = [30, 20, 20, 10].map((output, i) => ({ racerId: i + 1, output }))

  it('ranks as in a competition, and puts equal outputs in the order of their ids', () => {
    const board = liveBoard(efforts, { racerId: 9, output: 20 }, 9)
    expect(board.rows.map(({ rank, racerId }) => [rank, racerId])).toEqual([
      [1, 1],
      [2, 2],
      [2, 3],
      [2, 9],
      [5, 4],
    ])
    expect(board).toMatchObject({ rank: 2, total: 5, record: true })
  })

  it('has the live output in place of the own best, above it or below', () => {
    expect(liveBoard(efforts, { racerId: 4, output: 25 }, 9)).toMatchObject({
      rank: 2,
      total: 4,
      record: true,
    })
    const below = liveBoard(efforts, { racerId: 1, output: 15 }, 9)
    expect(below).toMatchObject({ rank: 3, total: 4, record: false })
    expect(below.rows.map((row) => row.racerId)).toEqual([2, 3, 1, 4])
  })

  it('begins with whoever rides first', () => {
    expect(liveBoard([], { racerId: 1, output: 1 }, 9)).toEqual({
      rank: 1,
      total: 1,
      record: true,
      rows: [{ rank: 1, racerId: 1, output: 1 }],
    })
  })

  it('is a record only above the best', () => {
    expect(isRecord(10, 10)).toBe(false)
    expect(isRecord(10.01, 10)).toBe(true)
    expect(isRecord(0, null)).toBe(true)
  })

  it('is a full page with the rider in the middle, whoever rides and however many tie', () => {
    const next = chance(7)
    for (let round = 0; round < 400; round++) {
      const count = Math.floor(next() * 30)
      const efforts = Array.from({ length: count }, (_, i) => ({
        racerId: i + 1,
        output: Math.floor(next() * 8),
      })).sort(byOutput)
      const rider = { racerId: 1 + Math.floor(next() * 40), output: Math.floor(next() * 8) }
      const board = liveBoard(efforts, rider, 9)
      // The plain way: all of it, sorted and counted.
      const all = ranked(
        [...efforts.filter((effort) => effort.racerId !== rider.racerId), rider].sort(byOutput),
      )
      const place = all.findIndex((row) => row.racerId === rider.racerId)
      const start = windowStart(place, all.length, 9)
      expect(board.rows).toEqual(all.slice(start, start + 9))
      expect(board.rank).toBe(all[place]?.rank)
      expect(board.total).toBe(all.length)
    }
  })

  it('comes out the same from the service, by way of a stand-in, when the rider is below an own best', () => {
    const next = chance(11)
    const standIn = Number.MAX_SAFE_INTEGER
    for (let round = 0; round < 400; round++) {
      const efforts = Array.from({ length: 20 }, (_, i) => ({
        racerId: i + 1,
        output: Math.floor(next() * 12),
      })).sort(byOutput)
      const own = efforts[Math.floor(next() * 20)] ?? { racerId: 1, output: 0 }
      const rider = { racerId: own.racerId, output: Math.floor(next() * (own.output + 1)) }
      const all = ranked([...efforts, { racerId: standIn, output: rider.output }].sort(byOutput))
      const start = windowStart(
        all.findIndex((row) => row.racerId === standIn),
        all.length,
        10,
      )
      const page = { total: all.length, standings: all.slice(start, start + 10) }
      const board = withoutOwnBest(page, rider.racerId, standIn, own.output, 9)
      const plain = liveBoard(efforts, rider, 9)
      expect(board).toMatchObject({ rank: plain.rank, total: plain.total, record: false })
      expect(board.rows).toHaveLength(9)
      expect(board.rows.find((row) => row.racerId === rider.racerId)).toEqual({
        ...rider,
        rank: plain.rank,
      })
      for (const row of board.rows)
        expect(ranked(liveBoard(efforts, rider, 20).rows)).toContainEqual(row)
    }
  })
})

describe('a board of some racers', () => {
  const efforts = [
    { racerId: 1, output: 200 },
    { racerId: 7, output: 195 },
    { racerId: 2, output: 190 },
    { racerId: 3, output: 180 },
  ]

  it('has the ranks among all and among them, with the rider at the live output', () => {
    const rows = (output: number) =>
      groupBoard(efforts, { racerId: 7, output }, [3, 1, 99]).map(
        ({ racerId, rank, groupRank }) => [racerId, rank, groupRank],
      )
    expect(rows(185)).toEqual([
      [1, 1, 1],
      [7, 3, 2],
      [3, 4, 3],
    ])
    expect(rows(200)).toEqual([
      [1, 1, 1],
      [7, 1, 1],
      [3, 4, 3],
    ])
    expect(rows(1)).toEqual([
      [1, 1, 1],
      [3, 3, 2],
      [7, 4, 3],
    ])
  })
})

describe('the next place', () => {
  const rows = [
    { racerId: 1, output: 200, rank: 1 },
    { racerId: 2, output: 190, rank: 2 },
    { racerId: 3, output: 190, rank: 2 },
    { racerId: 7, output: 188, rank: 4 },
  ]

  it('is that of the nearest row that is strictly above', () => {
    expect(nextPlace({ rows }, 7)).toEqual({ rank: 2, racerId: 3, gap: 2 })
    expect(nextPlace({ rows }, 3)).toEqual({ rank: 1, racerId: 1, gap: 10 })
  })

  it('is none for the first, for one who is level with all above, and for one who is not there', () => {
    expect(nextPlace({ rows }, 1)).toBeNull()
    expect(nextPlace({ rows: rows.slice(1, 3) }, 3)).toBeNull()
    expect(nextPlace({ rows }, 8)).toBeNull()
  })
})

describe('the clock', () => {
  it('counts whole seconds, up to the last', () => {
    const clock = new RaceClock(300, 1)
    clock.start(1000)
    expect(clock.second(1999)).toBe(0)
    expect(clock.second(2000)).toBe(1)
    expect(clock.second(1e9)).toBe(300)
  })

  it('keeps what is ridden over pauses and changes of speed', () => {
    const clock = new RaceClock(300, 1)
    clock.start(0)
    clock.pause(10_000)
    expect(clock.second(60_000)).toBe(10)
    clock.setSpeed(20, 60_000)
    expect(clock.running).toBe(false)
    clock.start(60_000)
    clock.setSpeed(5, 61_000)
    expect(clock.running).toBe(true)
    expect(clock.second(62_000)).toBe(35)
  })

  it('reads as minutes', () => {
    expect([0, 59, 60, 245].map(minutes)).toEqual(['0:00', '0:59', '1:00', '4:05'])
  })
})

describe('the result', () => {
  function ride(): Ride {
    const ride = new Ride()
    const bests = [null, 200, 100, 100, 500]
    bests.forEach((best, i) => ride.add(i + 1, 80, 78, best))
    return ride
  }

  it('has a streak of records and first bests', () => {
    const ride = new Ride()
    ;[500, 100, null, 100, 500].forEach((best, i) => ride.add(i + 1, 80, 78, best))
    expect(result(ride.samples)).toMatchObject({ records: 2, firsts: 1, streak: 3 })
  })

  it('counts records, runs and leads', () => {
    const ridden = ride()
    ;[
      [1, 4],
      [2, 9],
      [3, 1],
      [4, 1],
      [5, 7],
    ].forEach(([second, rank]) => ridden.rank(second ?? 0, rank ?? 0, 10))
    expect(result(ridden.samples)).toEqual({
      seconds: 5,
      averageOutput: expect.closeTo(164.45, 9),
      topOutput: 164.45,
      records: 2,
      firsts: 1,
      leads: 2,
      ranked: 5,
      unranked: 0,
      streak: 2,
      bestRank: { rank: 1, total: 10, second: 3 },
      finalRank: { rank: 7, total: 10 },
    })
  })

  it('does not lead where an own best was better, also at rank 1', () => {
    const ride = new Ride()
    ride.add(1, 80, 78, 500)
    ride.rank(1, 1, 10)
    expect(result(ride.samples)?.leads).toBe(0)
  })

  it.each([{ rank: null }, { total: null }])('a second with %j has no place', (missing) => {
    const ride = new Ride()
    const sample = { ...ride.add(1, 80, 78, null), rank: 1, total: 10, ...missing }
    expect(result([sample])).toMatchObject({
      bestRank: null,
      finalRank: null,
      leads: 0,
      unranked: 1,
    })
  })

  it('does without ranks that came too late', () => {
    const ridden = ride()
    ridden.rank(2, 5, 10)
    expect(result(ridden.samples)).toMatchObject({
      bestRank: { rank: 5, second: 2 },
      finalRank: null,
      leads: 0,
      ranked: 1,
      unranked: 3,
      records: 2,
    })
    expect(result([])).toBeNull()
  })
})

describe('riding for a visitor', () => {
  it('keeps within what can be set, and near its aim', () => {
    for (let aim = 0; aim <= 300; aim += 7) {
      const { cadence, resistance } = near(aim, 90)
      expect(cadence).toBeGreaterThanOrEqual(CADENCE.min)
      expect(cadence).toBeLessThanOrEqual(CADENCE.max)
      expect(resistance).toBeGreaterThanOrEqual(RESISTANCE.min)
      expect(resistance).toBeLessThanOrEqual(RESISTANCE.max)
      const reachable = Math.max(aim, output(0, 0))
      expect(Math.abs(output(cadence, resistance) - reachable)).toBeLessThan(1)
    }
  })

  it('breaks some of the records of a rider, not all', () => {
    const next = chance(3)
    const records = Array.from({ length: 300 }, (_, i) => {
      const { cadence, resistance } = autopilot(i + 1, 300, 150, 200, next())
      return output(cadence, resistance) > 150
    }).filter(Boolean).length
    expect(records).toBeGreaterThan(100)
    expect(records).toBeLessThan(270)
  })

  it.each([
    ['a rider without a best approaches the class record', 200, [160, 182, 204]],
    ['the first rider of a class rides harder and harder', null, [110, 145, 180]],
  ])('%s', (_, classRecord, aims) => {
    for (const [i, second] of [1, 150, 300].entries()) {
      const { cadence, resistance } = autopilot(second, 300, null, classRecord, 0.5)
      expect(output(cadence, resistance) / aims[i]!).toBeCloseTo(1, 1)
    }
  })
})
