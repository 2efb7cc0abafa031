/** Server-Sent Events, read from text. */

export interface PushedEvent {
  /** `comment` for a comment, which has no data. */
  name: string
  data: string
}

/** Splits text into events and comments. The text comes in pieces, cut anywhere, with line feeds as the service writes them. */
export class EventReader {
  #rest = ''

  /** Returns those that end in this piece. */
  read(piece: string): PushedEvent[] {
    const blocks = (this.#rest + piece).split('\n\n')
    this.#rest = blocks.pop() ?? ''
    return blocks.flatMap((block) => {
      if (block.startsWith(':')) return [{ name: 'comment', data: '' }]
      let name = 'message'
      const data: string[] = []
      for (const line of block.split('\n')) {
        const [, field, value] = /^([^:]+): ?(.*)$/.exec(line) ?? []
        if (field === 'event') name = value ?? ''
        else if (field === 'data') data.push(value ?? '')
      }
      return data.length > 0 ? [{ name, data: data.join('\n') }] : []
    })
  }
}
