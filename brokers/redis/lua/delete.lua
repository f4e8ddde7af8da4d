-- Deletes a partition with all that is in it.
--
-- Returns 1; 0 if it was not there.

if not open() then return 0 end
for _, level in ipairs(priorities()) do
  redis.call('UNLINK', base .. 's' .. level, base .. 'a' .. level)
end
for part = meta.over, math.max(meta.over - OVER_PARTS, 0), -1 do redis.call('UNLINK', base .. 'o:' .. text(part)) end
local letters = {
  'm', 'h', 't', 'l', 'c', 'ci', 'd', 'x', 'r', 'w', 'k', 'q', 'u', 'ue', 'lv', 'b', 'be', 'j', 'v', 'gm', 'go',
}
for _, letter in ipairs(letters) do
  redis.call('UNLINK', base .. letter)
end
redis.call('PUBLISH', base .. 'n', 1000000)
return 1
