-- Settles one lease and appends what follows from it to the same partition: both or neither.
--
-- ARGV  the queue's id, number, fence, verdict, after_us, error or reason, the sender's own bound or -1; then each
--       task as `task_at` reads it
-- Returns {state or why not, answers}; {'full', tasks in it} if they would not all fit, and then nothing was done.

if open() then advance() end
local number = tonumber(ARGV[2])
local why, record = refusal(ARGV[1], number, tonumber(ARGV[3]))
if why then return told({ string.lower(why), {} }) end
local verdict = ARGV[4]
local leaves = verdict == 'C' or verdict == 'X' or (verdict == 'R' and attempts_of(record) >= meta.attempts)

local most = bound_with(tonumber(ARGV[7]))

local tasks, room, keys = {}, meta.live - (leaves and 1 or 0), {}
local i = 8
while i <= #ARGV do
  local task
  task, i = task_at(i)
  if task.dedup ~= '' then
    local held = redis.call('HGET', base .. 'u', task.dedup)
    local holder = held and cmsgpack.unpack(held)
    if holder and holder.t > 0 and holder.t <= now then holder = nil end
    if holder and holder.t == 0 and holder.n == number and leaves then holder = nil end
    task.holder = holder or keys[task.dedup]
    keys[task.dedup] = task.holder or task
  end
  if not task.holder then
    room = room + 1
    if most >= 0 and room > most then return told({ 'full', meta.live }) end
  end
  tasks[#tasks + 1] = task
end

local state = carry_out(number, record, verdict, tonumber(ARGV[5]), ARGV[6])
local answers = {}
for _, task in ipairs(tasks) do
  if task.holder then
    local holder = task.holder
    answers[#answers + 1] = { 1, holder.n or holder.number, holder.i or holder.id }
  else
    task.number = enter(task)
    answers[#answers + 1] = task.number
  end
end
return told({ state, answers })
