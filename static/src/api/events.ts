/** Server-Sent Events, read from text. */

export interface PushedEvent {
  name: string
  data: string
}

/** Tells events apart in text that comes in pieces, cut anywhere: as the service writes them, with line feeds. */
export class EventReader {
  #rest = ''

  /** The events that end in this piece. */
  take(piece: string): PushedEvent[] {
    const blocks = (this.#rest + piece).split('\n\n')
    this.#rest = blocks.pop() ?? ''
    return blocks.flatMap((block) => {
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
