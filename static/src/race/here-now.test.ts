import { describe, expect, it } from 'vitest'

import type { Race } from '../api/client'
import { raceToShow, rowsAround } from './here-now'

const NOW = 2_000_000_000
const YOU = 7
const race = (raceId: number, racers: number, finished = false, ageS = 60): Race => ({
  raceId,
  racers,
  finished,
  lastSecond: finished ? 300 : 60,
  startedAt: NOW - ageS * 1000,
})

describe('the race to show here now', () => {
  it('is the one that goes on with the most racers, then the newest', () => {
    expect(
      raceToShow([race(1, 1), race(2, 40), race(3, 40), race(4, 90, true)], YOU, NOW)?.raceId,
    ).toBe(2)
  })
  it('is the last one where none goes on', () => {
    expect(raceToShow([race(1, 1, true), race(2, 40, true)], YOU, NOW)?.raceId).toBe(1)
    expect(raceToShow([], YOU, NOW)).toBe(null)
  })
  it('is not the race that the rider rides alone', () => {
    const ridden = (raceId: number, racers: number, racerId: number) => ({
      ...race(raceId, racers),
      standings: [{ racerId }],
    })
    expect(raceToShow([ridden(1, 1, YOU)], YOU, NOW)).toBe(null)
    expect(raceToShow([ridden(1, 2, YOU)], YOU, NOW)?.raceId).toBe(1)
    expect(raceToShow([ridden(1, 1, YOU), ridden(2, 1, 8)], YOU, NOW)?.raceId).toBe(2)
  })
  it('is not one that was given up', () => {
    const early = { ...race(3, 90, true), lastSecond: 3 }
    expect(raceToShow([early, race(1, 2, true)], YOU, NOW)?.raceId).toBe(1)
    expect(raceToShow([race(1, 2), race(2, 90, false, 3600)], YOU, NOW)?.raceId).toBe(1)
    expect(raceToShow([race(2, 90, false, 3600)], YOU, NOW)).toBe(null)
  })
})

describe('the rows around the rider', () => {
  const standings = [200, 180].map((output, i) => ({ racerId: i + 1, output, rank: i + 1 }))
  const rankOf = (racers: number, output: number) =>
    rowsAround({ racers, standings: standings as never }, { racerId: 7, output }, 9).find(
      ({ racerId }) => racerId === 7,
    )?.rank

  it('have the rider’s rank where every place above is known', () => {
    expect([rankOf(2, 100), rankOf(9, 190), rankOf(9, 180)]).toEqual([3, 2, 2])
  })
  it('have no rank behind the part of the race that is pushed', () => {
    expect(rankOf(9, 100)).toBeNull()
  })
})
