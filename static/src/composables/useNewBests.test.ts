import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { effectScope, type EffectScope } from 'vue'

import type { Effort } from '../race/dataset'
import { useNewBests, type NewBestsOnPage } from './useNewBests'

vi.mock('../api/client', () => ({ leaderboard: vi.fn() }))

const RECORD: Effort = { racerId: 9, output: 300 }
const AL = { racerId: 1, name: 'Al' }
const ADA = { racerId: 2, name: 'Ada' }
const ARJUN = { racerId: 3, name: 'Arjun' }

let scope: EffectScope
let page: NewBestsOnPage

beforeEach(() => {
  vi.useFakeTimers()
  scope = effectScope()
  page = scope.run(() => useNewBests(() => RECORD))!
})
afterEach(() => {
  scope.stop()
  vi.useRealTimers()
})

/** Shows a pushed best at one minute. */
function push(racer: typeof AL, output = 200, count = 1): void {
  page.show({ classId: 1, count, bests: [{ ...racer, second: 60, output }] })
}

it('has the latest first, each with a number of its own, and counts also what is not shown', () => {
  for (let output = 1; output <= 8; output++) push(ADA, output, 10)
  expect(page.latest.value.map(({ output }) => output)).toEqual([8, 7, 6, 5, 4, 3])
  expect(new Set(page.latest.value.map(({ id }) => id)).size).toBe(6)
  expect(page.count.value).toBe(80)
})

it('announces one at a time: the latest, but a class record first', () => {
  push(AL)
  expect(page.announcement.value).toContain('Al')
  push(ADA)
  push(ARJUN)
  expect(page.announcement.value).toContain('Al')
  vi.advanceTimersByTime(5000)
  expect(page.announcement.value).toContain('Arjun')
  push(ADA, 301)
  push(AL)
  vi.advanceTimersByTime(5000)
  expect(page.announcement.value).toContain('New class record at 1:00: \u2068Ada')
  vi.advanceTimersByTime(5000)
  push(AL)
  expect(page.announcement.value).toContain('Al')
})

it('the latest of two class records is announced', () => {
  push(AL)
  push(ADA, 301)
  push(ARJUN, 302)
  vi.advanceTimersByTime(5000)
  expect(page.announcement.value).toContain('Arjun')
})

it('announces nothing after the view was left', () => {
  push(AL)
  push(ADA)
  scope.stop()
  vi.advanceTimersByTime(5000)
  expect(page.announcement.value).toContain('Al')
})
