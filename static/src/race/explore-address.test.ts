import { expect, it } from 'vitest'

import { FIRST_ADDRESS as FIRST, parseAddress, toQuery, withChange } from './explore-address'

const CURSOR = 'AQEAAAAAAAAAEUBnaAAAAAAA'

it('an address reads as it was written', () => {
  const address = {
    second: 217,
    board: 'race' as const,
    around: 5,
    page: CURSOR,
    racers: [5, 17],
    races: `${CURSOR}AAAAAAAAAAAA`,
    race: 1619185620265,
    rows: 50,
  }
  expect(toQuery(address)).toEqual({
    second: '217',
    board: 'race',
    around: '5',
    page: CURSOR,
    racers: '5,17',
    races: `${CURSOR}AAAAAAAAAAAA`,
    race: '1619185620265',
    rows: '50',
  })
  expect(parseAddress(toQuery(address))).toEqual(address)
  expect(parseAddress({ board: 'finish' })).toEqual({ ...FIRST, board: 'finish' })
  expect(parseAddress(toQuery({ ...FIRST, racers: [] }))).toEqual({ ...FIRST, racers: [] })
})

it('what is as at first is not written', () => {
  expect(toQuery(FIRST)).toEqual({})
  expect(parseAddress({})).toEqual(FIRST)
})

it('invalid parts count as missing', () => {
  const query = { second: 'x', board: 'none', around: '-1', racers: '1,x,1e3,,2,2', race: '9e15' }
  expect(parseAddress(query)).toEqual({ ...FIRST, racers: [1, 2] })
  expect(parseAddress({ racers: 'Kofi' })).toEqual(FIRST)
  expect(parseAddress({ second: '900' }).second).toBe(300)
  expect(parseAddress({ second: '0' }).second).toBe(1)
  expect(parseAddress({ around: '99999999999999999999' }).around).toBe(null)
  expect(parseAddress({ second: ['90', '91'] }).second).toBe(90)
  expect(parseAddress({ racers: '1,2,3,4,5,6,7,8' }).racers).toHaveLength(6)
  expect(parseAddress({ page: '../x', races: 'AQ', rows: 'x' })).toEqual(FIRST)
})

it('another board or race begins at its first page', () => {
  const address = { ...FIRST, around: 5, race: 1, page: CURSOR, rows: 50 }
  expect(withChange(address, { second: 61 })).toMatchObject({ page: null, rows: 50 })
  expect(withChange(address, { board: 'finish' })).toMatchObject({ page: null })
  expect(withChange(address, { around: 5 })).toMatchObject({ page: null })
  expect(withChange(address, { race: 2 })).toMatchObject({ page: CURSOR, rows: 0 })
  expect(withChange(address, { racers: [] })).toMatchObject({ page: CURSOR, rows: 50 })
})
