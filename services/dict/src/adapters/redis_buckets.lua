-- Token buckets, with the arithmetic of dict_core::buckets. A level is stored as '<units> <at ms>'. Every number is
-- a whole one below 2^53, where doubles are exact.
--
-- KEYS: 1 since when levels are lost, 2 lookups of one EndToEndId, 3.. buckets
-- ARGV: 1 mode, 2 now in ms, 3 payer of the lookup ('' for none), 4 life of a lookup in ms, then of each bucket
--       tokens, period in ms, capacity, change, pending change, credit
--
-- Modes: take    adds the changes when every bucket holds a token, and notes what an order will credit
--        change  adds the changes; what is given back wholly (a credit is named) is noted no more
--        peek    looks
--        credit  adds, once, what the lookups of this payer noted
--
-- Answer: {-1} when the store was emptied, else {done, bits of the credits noted, units, at, units, at, ...}
local lost = redis.call('GET', KEYS[1])
if not lost then
    return { -1 }
end
lost = tonumber(lost)
local mode, now, payer = ARGV[1], tonumber(ARGV[2]), ARGV[3]

-- Milliseconds that a bucket of `units` takes to be full.
local function filling(units, rate)
    return math.floor((math.max(rate.full - units, 0) + rate.tokens - 1) / rate.tokens)
end

local function rate_of(tokens, period, capacity)
    local rate = { tokens = tonumber(tokens), period = tonumber(period) }
    rate.full = tonumber(capacity) * rate.period
    rate.unknown = math.floor(rate.full / 10)
    return rate
end

-- The level now. What is not stored holds what it would, had it held a tenth when the levels were lost.
local function read(key, rate)
    local units, at = rate.unknown, lost
    local stored = redis.call('GET', key)
    if stored then
        units, at = string.match(stored, '^(-?%d+) (-?%d+)$')
        units, at = tonumber(units), tonumber(at)
    end
    local elapsed = math.max(now - at, 0)
    if elapsed >= filling(units, rate) then
        return { units = rate.full, at = now }
    end
    return { units = units + elapsed * rate.tokens, at = math.max(at, now) }
end

local function add(level, rate, tokens)
    level.units = math.min(level.units + tokens * rate.period, rate.full)
end

-- Milliseconds until a level is full; none when it is, even by a clock that was ahead.
local function full_in(units, at, rate)
    local span = filling(units, rate)
    return span > 0 and at - now + span or 0
end

-- Kept for as long as it differs from what is not stored, and a second longer: clocks differ.
local function write(key, rate, level)
    local life = math.max(full_in(level.units, level.at, rate), full_in(rate.unknown, lost, rate))
    if life <= 0 then
        redis.call('DEL', key)
    else
        local text = string.format('%.0f %.0f', level.units, level.at)
        redis.call('SET', key, text, 'PX', string.format('%.0f', life + 1000))
    end
end

if mode == 'credit' then
    local credited = 0
    local noted = redis.call('HGETALL', KEYS[2])
    for i = 1, #noted, 2 do
        local field, value = noted[i], noted[i + 1]
        local of, key = string.match(field, '^(%w+)|(.+)$')
        local tokens, period, capacity, credit = string.match(value, '^(%d+) (%d+) (%d+) (%d+)$')
        if of == payer and tokens then
            local rate = rate_of(tokens, period, capacity)
            local level = read(key, rate)
            add(level, rate, tonumber(credit))
            write(key, rate, level)
            -- Spent, and not forgotten: a lookup with the same EndToEndId notes nothing again.
            redis.call('HSET', KEYS[2], field, '-')
            credited = credited + 1
        end
    end
    return { credited, 0 }
end

local buckets = {}
local admitted = true
for i = 3, #KEYS do
    local from = 5 + (i - 3) * 6
    local rate = rate_of(ARGV[from], ARGV[from + 1], ARGV[from + 2])
    local bucket = {
        key = KEYS[i],
        rate = rate,
        change = tonumber(ARGV[from + 3]),
        pending = tonumber(ARGV[from + 4]),
        credit = tonumber(ARGV[from + 5]),
        noted = table.concat({ ARGV[from], ARGV[from + 1], ARGV[from + 2], ARGV[from + 5] }, ' '),
        field = payer .. '|' .. KEYS[i],
        level = read(KEYS[i], rate),
    }
    add(bucket.level, rate, bucket.pending)
    admitted = admitted and bucket.level.units >= rate.period
    buckets[#buckets + 1] = bucket
end

local done = mode == 'change' or (mode == 'take' and admitted)
local bits = 0
local answer = { done and 1 or 0, 0 }
for i, bucket in ipairs(buckets) do
    if done then
        add(bucket.level, bucket.rate, bucket.change)
    end
    if done or bucket.pending ~= 0 then
        write(bucket.key, bucket.rate, bucket.level)
    end
    if done and bucket.credit > 0 then
        if mode == 'take' then
            bits = bits + redis.call('HSETNX', KEYS[2], bucket.field, bucket.noted) * 2 ^ (i - 1)
        elseif redis.call('HGET', KEYS[2], bucket.field) == bucket.noted then
            redis.call('HDEL', KEYS[2], bucket.field)
        end
    end
    answer[#answer + 1] = bucket.level.units
    answer[#answer + 1] = bucket.level.at
end
if bits > 0 then
    redis.call('PEXPIRE', KEYS[2], ARGV[4])
end
answer[2] = bits
return answer
