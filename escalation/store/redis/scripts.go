package redis

import (
	"crypto/sha1" //nolint:gosec // by this name Redis knows a script
	"encoding/hex"
	"strings"
)

// A script runs as a whole or not at all, as far as Redis is concerned; that it
// does not stop in the middle is the script's own business. So whatever could
// fail (a key of another type) is touched before anything is changed.
type script struct{ text, sha string }

func newScript(flags, body string) script {
	text := strings.TrimSpace("#!lua "+flags) + "\n" + body
	sum := sha1.Sum([]byte(text)) //nolint:gosec // likewise
	return script{text, hex.EncodeToString(sum[:])}
}

var (
	// commitKnown changes, deletes and moves; memory that is full does not stop it.
	commitKnown = newScript("flags=allow-oom", commitBody)
	// commitNew is for a Txn that grows; Redis refuses it when memory is full.
	commitNew = newScript("", commitBody)
	claimed   = newScript("flags=allow-oom", claimBody)
)

// What both scripts answer for a partition that is not this store's.
const (
	unmarked = "UNMARKED" // it is empty: Redis lost what it had
	foreign  = "FOREIGN"  // it is somebody else's
)

// checkOwner ends a script where the partition has another marker than wanted.
func checkOwner(want string) string {
	return "if " + want + " ~= '' and owner ~= " + want + " then\n" +
		"  return redis.error_reply(owner and '" + foreign + " ' .. owner or '" + unmarked + " no marker')\n" +
		"end"
}

// What commitBody answers; a number above 0 is the write that conflicts.
const (
	applied  = 0
	again    = -1 // the first record carries this mark
	wouldDo  = -2 // only looked, and nothing is in the way
	onlyLook = "1"
)

// commitBody applies a Txn.
//
//	KEYS  records, wakes, and deletions if a write deletes
//	ARGV  mark, onlyLook or "", marker ("" any); then for each write
//	      id, version expected ("" none), record ("" delete), wake ("" none)
//
// Bytes 5 to 12 of a record are its version, 13 to 20 its mark.
var commitBody = `
local NONE, ONE = '\0\0\0\0\0\0\0\0', '\0\0\0\0\0\0\0\1'
local PIECE = 4000 -- of a list, as much as unpack takes; even, for pairs
local mark = ARGV[1]

local function call(command, key, args)
  for i = 1, #args, PIECE do
    redis.call(command, key, unpack(args, i, math.min(i + PIECE - 1, #args)))
  end
end

local ids = {''}
for a = 4, #ARGV, 4 do ids[#ids + 1] = ARGV[a] end
local stored = {}
for i = 1, #ids, PIECE do
  for _, r in ipairs(redis.call('HMGET', KEYS[1], unpack(ids, i, math.min(i + PIECE - 1, #ids)))) do
    stored[#stored + 1] = r
  end
end
table.remove(ids, 1)
local owner = table.remove(stored, 1)
` + checkOwner("ARGV[3]") + `

if mark ~= NONE then
  if stored[1] then
    if string.sub(stored[1], 13, 20) == mark then return -1 end
  elseif ARGV[6] == '' then
    local at = redis.call('LPOS', KEYS[3], 'i' .. ids[1])
    if at and redis.call('LINDEX', KEYS[3], at + 1) == 'm' .. mark then return -1 end
  end
end

for i, r in ipairs(stored) do
  local version = ''
  if r then
    version = string.sub(r, 5, 12)
    if #r < 28 or version == NONE then version = ONE end
  end
  if version ~= ARGV[4 * i + 1] then return i end
end
if ARGV[2] ~= '' then return -2 end

local set, unset, wake, sleep, gone = {}, {}, {}, {}, {}
for i, id in ipairs(ids) do
  local record, at = ARGV[4 * i + 2], ARGV[4 * i + 3]
  if record ~= '' then
    set[#set + 1], set[#set + 2] = id, record
  else
    gone[#gone + 1], gone[#gone + 2] = 'm' .. mark, 'i' .. id
    at = ''
    if stored[i] then unset[#unset + 1] = id end
  end
  if at ~= '' then
    wake[#wake + 1], wake[#wake + 2] = at, id
  elseif stored[i] then
    sleep[#sleep + 1] = id
  end
end
if #gone > 0 then
  call('LPUSH', KEYS[3], gone)
  redis.call('LTRIM', KEYS[3], 0, 2 * 4096 - 1)
end
call('ZADD', KEYS[2], wake)
call('ZREM', KEYS[2], sleep)
call('HDEL', KEYS[1], unset)
call('HSET', KEYS[1], set)
return 0
`

// claimBody claims what is still due as it was seen.
//
//	KEYS  records, wakes
//	ARGV  end of the lease, marker ("" any); then for each record id, when it was due
//
// It answers when the partition is due next (false: never), then for each
// record claimed its place among those asked for, and the record. A wake-up
// without a record is removed.
var claimBody = `
local ids = {}
for a = 3, #ARGV, 2 do ids[#ids + 1] = ARGV[a] end
local due = redis.call('ZMSCORE', KEYS[2], unpack(ids))
local mine, places, move = {}, {}, {}
for i, at in ipairs(due) do
  if at and tonumber(at) == tonumber(ARGV[2 * i + 2]) then
    mine[#mine + 1], places[#places + 1] = ids[i], i
  end
end
local answer = {false}
if #mine > 0 then
  local stored = redis.call('HMGET', KEYS[1], '', unpack(mine))
  local owner = table.remove(stored, 1)
` + checkOwner("ARGV[2]") + `
  for i, r in ipairs(stored) do
    if r then
      move[#move + 1], move[#move + 2] = ARGV[1], mine[i]
      answer[#answer + 1], answer[#answer + 2] = places[i], r
    else
      redis.call('ZREM', KEYS[2], mine[i])
    end
  end
  if #move > 0 then redis.call('ZADD', KEYS[2], 'XX', unpack(move)) end
end
answer[1] = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')[2] or false
return answer
`
