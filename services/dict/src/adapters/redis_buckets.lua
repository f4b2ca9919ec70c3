-- Token buckets, with the arithmetic of dict_core::buckets. A level is stored as '<units> <at ms>'. Every number is
-- a whole one below 2^53, where doubles are exact.
--
-- KEYS: 1 the marker, '<since when levels are lost, in ms> <name of this filling>', 2 lookups of one EndToEndId,
--       3.. buckets; of credit: 2.. lookups, each of one EndToEndId
-- ARGV: 1 mode, 2 now in ms, 3 the marker that the process knows, 4 payer of the lookup ('' for none), 5 life of a
--       lookup in ms, then of each bucket
--       tokens, period in ms, capacity, change, credit          of take, change and peek
--       tokens, period in ms, capacity, units, at ms, whether the teller is sure (1, else 0)   of lower
--       ARGV 6.. of credit: the payers, one for each of the lookups
--
-- Modes: take    adds the changes when every bucket holds a token, and holds what an order will credit
--        change  adds the changes; what is given back wholly (a credit is named) is held no more
--        peek    looks
--        lower   makes a level the one given, where that is lower, or where none is stored and the teller is sure
--        note    holds what an order will credit, unless that is known; ARGV 6.. are tokens, period in ms,
--                capacity, credit, lookups that hold it
--        credit  adds, once, what the lookups of these payers hold
--
-- Answer: {-1} when the store is not the one that the process knows, else {done, units, at, units, at, ...}
local marker = redis.call('GET', KEYS[1])
if marker ~= ARGV[3] then
    return { -1 }
end
local lost = tonumber(string.match(marker, '^%d+'))
local mode, now, payer, life = ARGV[1], tonumber(ARGV[2]), ARGV[4], ARGV[5]

-- Milliseconds that a bucket of `units` takes to be full.
local function filling(units, rate)
    return math.floor((math.max(rate.full - units, 0) + rate.tokens - 1) / rate.tokens)
end

local function rate_of(tokens, period, capacity)
    local rate = { tokens = tonumber(tokens), period = tonumber(period) }
    rate.full = tonumber(capacity) * rate.period
    rate.floor = -10 * rate.full
    rate.unknown = math.floor(rate.full / 10)
    return rate
end

local function refilled(units, at, rate)
    local elapsed = math.max(now - at, 0)
    if elapsed >= filling(units, rate) then
        return { units = rate.full, at = now }
    end
    return { units = units + elapsed * rate.tokens, at = math.max(at, now) }
end

-- The level now. What is not stored holds what it would, had it held a tenth when the levels were lost.
local function read(key, rate)
    local units, at = rate.unknown, lost
    local stored = redis.call('GET', key)
    if stored then
        units, at = string.match(stored, '^(-?%d+) (-?%d+)$')
        units, at = tonumber(units), tonumber(at)
    end
    return refilled(units, at, rate), stored
end

local function add(level, rate, tokens)
    level.units = math.max(math.min(level.units + tokens * rate.period, rate.full), rate.floor)
end

-- Milliseconds until a level is full; none when it is, even by a clock that was ahead.
local function full_in(units, at, rate)
    local span = filling(units, rate)
    return span > 0 and at - now + span or 0
end

-- Kept for as long as it differs from what is not stored, and a second longer: clocks differ.
local function write(key, rate, level)
    local kept = math.max(full_in(level.units, level.at, rate), full_in(rate.unknown, lost, rate))
    if kept <= 0 then
        redis.call('DEL', key)
    else
        local text = string.format('%.0f %.0f', level.units, level.at)
        redis.call('SET', key, text, 'PX', string.format('%.0f', kept + 1000))
    end
end

-- A note is '<tokens> <period> <capacity> <credit> <lookups that hold it>', or '-' once it is spent; the spent one is
-- not forgotten: a lookup with the same EndToEndId holds nothing again.
local function hold(field, noted, by)
    local value = redis.call('HGET', KEYS[2], field)
    if value == '-' then
        return
    end
    local holders = (value and tonumber(string.match(value, '%d+$')) or 0) + by
    if holders > 0 then
        redis.call('HSET', KEYS[2], field, noted .. ' ' .. string.format('%.0f', holders))
        redis.call('PEXPIRE', KEYS[2], life)
    elseif value then
        redis.call('HDEL', KEYS[2], field)
    end
end

if mode == 'credit' then
    local credited = 0
    for nth = 2, #KEYS do
        local noted = redis.call('HGETALL', KEYS[nth])
        for i = 1, #noted, 2 do
            local field, value = noted[i], noted[i + 1]
            local of, key = string.match(field, '^(%w+)|(.+)$')
            local tokens, period, capacity, credit = string.match(value, '^(%d+) (%d+) (%d+) (%d+) %d+$')
            if of == ARGV[4 + nth] and tokens then
                local rate = rate_of(tokens, period, capacity)
                local level = read(key, rate)
                add(level, rate, tonumber(credit))
                write(key, rate, level)
                redis.call('HSET', KEYS[nth], field, '-')
                credited = credited + 1
            end
        end
    end
    return { credited }
end

if mode == 'note' then
    local field = payer .. '|' .. KEYS[3]
    if redis.call('HEXISTS', KEYS[2], field) == 0 then
        hold(field, table.concat({ ARGV[6], ARGV[7], ARGV[8], ARGV[9] }, ' '), tonumber(ARGV[10]))
    end
    return { 1 }
end

local buckets = {}
local admitted = true
local width = mode == 'lower' and 6 or 5
for i = 3, #KEYS do
    local from = 6 + (i - 3) * width
    local rate = rate_of(ARGV[from], ARGV[from + 1], ARGV[from + 2])
    local level, stored = read(KEYS[i], rate)
    local bucket = { key = KEYS[i], rate = rate, level = level }
    if mode == 'lower' then
        local told = refilled(tonumber(ARGV[from + 3]), tonumber(ARGV[from + 4]), rate)
        if stored or ARGV[from + 5] ~= '1' then
            told.units = math.min(level.units, told.units)
            told.at = math.max(level.at, told.at)
        end
        level.units, level.at = math.max(told.units, rate.floor), told.at
    else
        bucket.change, bucket.credit = tonumber(ARGV[from + 3]), tonumber(ARGV[from + 4])
        bucket.noted = table.concat({ ARGV[from], ARGV[from + 1], ARGV[from + 2], ARGV[from + 4] }, ' ')
        bucket.field = payer .. '|' .. KEYS[i]
    end
    admitted = admitted and bucket.level.units >= rate.period
    buckets[#buckets + 1] = bucket
end

local done = mode == 'lower' or mode == 'change' or (mode == 'take' and admitted)
local answer = { done and 1 or 0 }
for _, bucket in ipairs(buckets) do
    if done and bucket.change then
        add(bucket.level, bucket.rate, bucket.change)
        if bucket.credit > 0 then
            hold(bucket.field, bucket.noted, mode == 'take' and 1 or -1)
        end
    end
    if done then
        write(bucket.key, bucket.rate, bucket.level)
    end
    answer[#answer + 1] = bucket.level.units
    answer[#answer + 1] = bucket.level.at
end
return answer
