import { afterAll, beforeAll, describe, expect, it } from 'vitest'

import { settled, type Board, type Race } from './actions'
import { S3Server } from './s3'
import { rowsOf, Service, serviceOfFile, until, visit, written } from './support'

/** As many as the panel shows. */
const RIDERS = [1, 2, 3, 4, 5, 6, 7, 8, 9]
const RACE = 77
const LAST_SECOND = 300

const store = new S3Server()
beforeAll(() => store.start())
afterAll(() => store.stop())
const first = serviceOfFile({ shared: store })
const second = new Service([], store)
beforeAll(() => second.run())
afterAll(() => second.stop())

const outputAt = (racerId: number, seconds: number) => 20 * racerId + seconds

/** The rows of the race's board once every rider is at that second. */
function rowsAt(seconds: number): Awaited<ReturnType<typeof rowsOf>> {
  const standings = RIDERS.toReversed().map((racerId, index) => ({
    rank: index + 1,
    racerId,
    output: outputAt(racerId, seconds),
  }))
  return written(standings)
}

/** Sends a second of the race, as a load balancer may: the odd riders to one instance, the even ones to the other. */
async function ride(seconds: number): Promise<void> {
  const record = (racerId: number) => ({
    classId: 1,
    second: seconds,
    racerId,
    raceId: RACE,
    output: outputAt(racerId, seconds),
    deviceTimestamp: Date.now(),
    event: seconds === LAST_SECOND ? 'final' : 'update',
  })
  const of = (rest: number) => RIDERS.filter((racer) => racer % 2 === rest).map(record)
  await Promise.all([first.deliver(of(1)), second.deliver(of(0))])
}

describe('two instances on one bucket', () => {
  it('show a race as a whole, whichever took a rider in', async () => {
    const { page, faults } = await visit(first, '/#/ride/1')
    for (const seconds of [10, 11]) {
      await ride(seconds)
      await settled(page, 'here-now', rowsAt(seconds))
    }
    await ride(LAST_SECOND)
    await page.goto(`${first.origin}/#/explore/1`)
    await page.getByRole('button', { name: /9 racers, finished/ }).click()
    await settled(page, 'races', rowsAt(LAST_SECOND))
    for (const service of [first, second]) {
      const [race] = await service.json<Race[]>('/classes/1/races')
      expect(race).toMatchObject({ raceId: RACE, finished: true, racers: RIDERS.length })
      await until('every finish is there', async () => {
        const finishes = await service.json<Board>('/classes/1/leaderboard?by=finish')
        return finishes.total === RIDERS.length
      })
    }
    expect(faults).toEqual([])
    await page.context().close()
  })
})
