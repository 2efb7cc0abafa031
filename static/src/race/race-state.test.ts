import { expect, it } from 'vitest'

import type { Race } from '../api/client'
import { stateText } from './race-state'

const NOW = 2_000_000_000

it.each([
  ['at 1:00', 60, false, 60],
  ['finished', 300, true, 300],
  ['ended at 0:03', 3, true, 60],
  ['at 1:00', 60, false, 899],
  ['ended at 1:00', 60, false, 900],
  ['ended at 1:00', 60, false, 3600],
])(
  'a race is %s: at second %i, finished: %s, begun %i s ago',
  (text, lastSecond, finished, ageS) => {
    const startedAt = NOW - ageS * 1000
    const race: Race = { raceId: 1, racers: 1, lastSecond, finished, startedAt }
    expect(stateText(race, NOW)).toBe(text)
  },
)
