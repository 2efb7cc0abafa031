import { expect, it } from 'vitest'

import { isOnBoards, samplesOf, toOwnRide } from './own-ride'
import { praise, result, Ride } from './ride'

const HEAD = {
  raceId: 1,
  classId: 1,
  racerId: 1,
  riderName: 'Ada',
  practice: false,
  sent: true,
  delivered: false,
  refused: null,
  classRecords: [200, null],
}

it('a ride is the same after it was kept', () => {
  const ride = new Ride()
  ride.add(1, 80, 78, 100)
  ride.add(2, 90, 50, null)
  ride.rank(1, 3, 10)
  const kept = JSON.parse(JSON.stringify(toOwnRide(HEAD, ride.samples)))
  expect(samplesOf(kept)).toEqual(ride.samples)
})

it.each([
  [
    [null, null],
    'Your first ride here. From now on there are bests to beat.',
    'It would be your first ride here.',
  ],
  [
    [1, null],
    '1 personal record and 1 first best.',
    'It would be 1 personal record and 1 first best.',
  ],
  [[999, null], '1 first best.', 'It would be 1 first best.'],
  [[1, 999], '1 personal record.', 'It would be 1 personal record.'],
  [[1, 1], '2 personal records.', 'It would be 2 personal records.'],
  [
    [999, 999],
    'No record this time. The next one is within reach.',
    'No record this time. The next one is within reach.',
  ],
])('bests of %j give the headline "%s", or "%s"', (bests, counting, notCounting) => {
  const ride = new Ride()
  bests.forEach((best, i) => ride.add(i + 1, 80, 78, best))
  const summary = result(ride.samples)
  expect(summary && praise(summary, true)).toBe(counting)
  expect(summary && praise(summary, false)).toBe(notCounting)
})

it('a ride that is not on the boards holds nothing', () => {
  const ride = new Ride()
  ride.add(1, 80, 78, null)
  ride.rank(1, 1, 5)
  const summary = result(ride.samples)
  expect(summary && praise(summary, true)).toBe('You were first of all time at every second.')
  expect(summary && praise(summary, false)).toBe(
    'You would have been first of all time at every second.',
  )
})

it.each([
  [[null, 1], 'You were first of all time for at least 1 of 2 seconds.'],
  [[2, 1], 'You were first of all time for 1 of 2 seconds.'],
])('the headline says “at least” only where a rank is not known: %j', (ranks, headline) => {
  const ride = new Ride()
  ranks.forEach((rank, i) => {
    ride.add(i + 1, 80, 78, null)
    if (rank !== null) ride.rank(i + 1, rank, 5)
  })
  const summary = result(ride.samples)
  expect(summary && praise(summary, true)).toBe(headline)
})

it.each([
  [{}, true],
  [{ sent: false }, false],
  [{ refused: 'wrong clock' }, false],
  [{ refused: 'wrong clock', anyTaken: true }, false],
  [{ rejected: 1 }, true],
  [{ rejected: 2 }, false],
  [{ rejected: 2, gaveUp: true }, true],
  [{ rejected: 3, gaveUp: true }, false],
])('a ride of two seconds with %j is on the boards: %s', (head, expected) => {
  const ride = new Ride()
  ride.add(1, 80, 78, null)
  ride.add(2, 80, 78, null)
  expect(isOnBoards(toOwnRide({ ...HEAD, ...head }, ride.samples))).toBe(expected)
})
