-- Appends tasks, or says why not, one after the other. A full partition takes none: nothing is ever trimmed.
--
-- ARGV  the sender's own bound or -1; then each task as `task_at` reads it
-- Returns the number of the first task where all are plain, else for each task its number, {1, number, id} of the earlier one with its dedup key, or {2, tasks in it}.

if not open() then return redis.error_reply('NOQUEUE there is no such queue') end
advance()
local most = bound_with(tonumber(ARGV[1]))
local answers = {}
local i = 2
while i <= #ARGV do
  local task
  task, i = task_at(i)
  local holder
  if task.dedup ~= '' then
    local held = redis.call('HGET', base .. 'u', task.dedup)
    holder = held and cmsgpack.unpack(held)
    if holder and holder.t > 0 and holder.t <= now then holder = nil end
  end
  if holder then
    answers[#answers + 1] = { 1, holder.n, holder.i }
  elseif most >= 0 and meta.live >= most then
    answers[#answers + 1] = { 2, meta.live }
  else
    answers[#answers + 1] = enter(task)
  end
end
return told(answers)
