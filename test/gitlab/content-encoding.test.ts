import { brotliCompressSync, deflateRawSync, deflateSync, gzipSync, zstdCompressSync } from 'node:zlib'
import t from 'tap'
import { unpackBody } from '../../src/gitlab/content-encoding.ts'

const MOST = 1_000
const TEXT = Buffer.from('{"access_token":"FAKE"}')

t.test('a body is read without what it was packed with', async (t) => {
  for (const [encoding, bytes] of [
    [undefined, TEXT],
    ['', TEXT],
    ['identity', TEXT],
    ['gzip', gzipSync(TEXT)],
    ['X-GZIP', gzipSync(TEXT)],
    ['gzip, identity', gzipSync(TEXT)],
    ['deflate', deflateSync(TEXT)],
    ['deflate', deflateSync(TEXT, { level: 1 })],
    ['deflate', deflateRawSync(TEXT)],
    ['br', brotliCompressSync(TEXT)],
    ['zstd', zstdCompressSync(TEXT)],
    ['br,gzip', gzipSync(brotliCompressSync(TEXT))],
    ['gzip', TEXT],
    ['compress', TEXT],
    ['constructor', TEXT],
  ] as const) {
    const headers = encoding === undefined ? {} : { 'content-encoding': encoding }
    t.equal(unpackBody(bytes, headers, MOST)?.toString(), TEXT.toString(), String(encoding))
  }
  t.equal(unpackBody(Buffer.alloc(0), { 'content-encoding': 'gzip' }, MOST)?.length, 0)
})

t.test('a small body that becomes a huge one is not unpacked', async (t) => {
  for (const [encoding, bytes] of [
    ['gzip', gzipSync(Buffer.alloc(MOST + 1))],
    ['deflate', deflateSync(Buffer.alloc(MOST + 1))],
    ['br', brotliCompressSync(Buffer.alloc(MOST + 1))],
    ['zstd', zstdCompressSync(Buffer.alloc(MOST + 1))],
  ] as const)
    t.equal(unpackBody(bytes, { 'content-encoding': encoding }, MOST), undefined, encoding)
  t.equal(unpackBody(gzipSync(Buffer.alloc(MOST)), { 'content-encoding': 'gzip' }, MOST)?.length, MOST)
})
