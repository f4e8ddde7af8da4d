-- What changes a partition's settings shares.

-- Packs the settings for those who read them.
local function pack_settings()
  local texts = redis.call('HMGET', KEYS[1], 'capacity', 'lease_us', 'attempts', 'ordered', 'retention_us',
    'dead_retention_us', 'paused')
  for place, value in ipairs(texts) do texts[place] = tonumber(value) end
  redis.call('HSET', KEYS[1], 'settings', struct.pack(SETTINGS, unpack(texts)))
end
