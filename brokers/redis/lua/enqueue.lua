-- Appends tasks, or says why not, one after the other. A full partition takes none: nothing is ever trimmed.
--
-- ARGV  the sender's own bound or -1; then for each task: id, priority, delay_us, ordering key or '', dedup key
--       or '', its window_us (0 is until the task is done), the number of its fields, and names and values
-- Returns for each task {0, number}, {1, number, id} of the earlier one with its dedup key, or {2, tasks in it}.

if not open() then return redis.error_reply('NOQUEUE there is no such queue') end
advance()
local most = bound_with(tonumber(ARGV[1]))
local answers = {}
local i = 2
while i <= #ARGV do
  local id, priority, delay_us = ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])
  local key, dedup, window_us, count = ARGV[i + 3], ARGV[i + 4], tonumber(ARGV[i + 5]), tonumber(ARGV[i + 6])
  local holder
  if dedup ~= '' then
    local held = redis.call('HGET', base .. 'u', dedup)
    holder = held and cmsgpack.unpack(held)
    if holder and holder.t > 0 and holder.t <= now then holder = nil end
  end
  if holder then
    answers[#answers + 1] = { 1, holder.n, holder.i }
  elseif most >= 0 and meta.live >= most then
    answers[#answers + 1] = { 2, meta.live }
  else
    answers[#answers + 1] = { 0, enter(priority, delay_us, key, dedup, window_us, id, i + 7, i + 6 + count) }
  end
  i = i + 7 + count
end
return told(answers)
