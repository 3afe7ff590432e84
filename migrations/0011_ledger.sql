-- One ledger for teachers and judges: where each judge's reply came from, as traces say it of theirs. Empty
-- for replies of before. The index holds all that the ledger reads, so that no reply is touched for it.
alter table judge_replies add column endpoint text not null default '';

create index judge_replies_by_endpoint on judge_replies (endpoint, cost_usd);

-- Outcomes and times of programs without reading what each verdict rests on.
create index verdicts_by_outcome on verdicts (mode, outcome, trace_id);

create index verdicts_by_cpu on verdicts (cpu_ms, trace_id) where verifier = 'code' and mode = 'strict';

create index verdicts_by_flaky on verdicts (flaky, trace_id)
where verifier = 'code' and mode = 'strict' and flaky > 0;
