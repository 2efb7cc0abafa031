import { describe, expect, it } from 'vitest'

import {
  ago,
  ordinal,
  percentText,
  outputText,
  quantity,
  signed,
  visibleName,
  waitingText,
} from './format'

describe('numbers and times', () => {
  it('are as people read them', () => {
    expect(outputText(1187.2)).toBe('1,187.20')
    expect([3.2, -0.5, 0.001, -0.001].map(signed)).toEqual(['+3.20', '−0.50', '±0.00', '±0.00'])
    expect([0, 1, 40_000].map((value) => quantity(value, 'racer'))).toEqual([
      '0 racers',
      '1 racer',
      '40,000 racers',
    ])
    expect([0, 99.9, 99.97].map(percentText)).toEqual(['0.0\u00a0%', '99.9\u00a0%', '99.9\u00a0%'])
    expect([1, 2, 3, 11, 22, 113, 1001].map(ordinal)).toEqual([
      '1st',
      '2nd',
      '3rd',
      '11th',
      '22nd',
      '113th',
      '1,001st',
    ])
    expect([0, 42_000, 61_000, 7_200_000, 180_000_000].map(ago)).toEqual([
      'just now',
      '42 s ago',
      '1 min ago',
      '2 h ago',
      '2 d ago',
    ])
  })
})

it('seconds that wait agree with their verb', () => {
  expect([1, 2].map(waitingText)).toEqual([
    '1 second waits to be sent.',
    '2 seconds wait to be sent.',
  ])
})

it.each([
  [' Ada ', 'Ada'],
  ['\u200b\u202e', ''],
  [' \u2060\u3164\u2800\ufe0f\u0007', ''],
  ['👩\u200d🚀', '👩\u200d🚀'],
  ['می\u200cخواهم', 'می\u200cخواهم'],
])('the visible name of %j is %j', (name, expected) => {
  expect(visibleName(name)).toBe(expected)
})
