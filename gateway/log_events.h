/* The one table of the program's log events: each event that the gateway logs, its level, what it
 * means, and what an operator does about it. The reference page is printed from it; a test compares
 * it with the calls of ps_log(). */
#ifndef GW_LOG_EVENTS_H
#define GW_LOG_EVENTS_H

/* clang-format off */
/*    event, level, what it means, what to do ("" = nothing) */
#define GW_LOG_EVENTS(X) \
    X(ready, INFO, "The gateway serves.", "") \
    X(signal, INFO, "SIGTERM or SIGINT arrived.", "") \
    X(checkpoint_loaded, INFO, "The start loaded orders from fold.checkpoint and reads only the later records of each partition.", "") \
    X(checkpoint_refused, WARN, "fold.checkpoint is not used (why): the gateway reads the whole log and writes a new one.", \
      "Nothing, after a change of version or of the log. Else look at the disk of state_dir.") \
    X(checkpoint_failed, WARN, "fold.checkpoint was not written (error, why): the next start reads more of the log. It is tried again.", \
      "why says what to fix; usually the disk of state_dir is full.") \
    X(draining, INFO, "/readyz fails; the gateway serves for another delay_ms.", "") \
    X(stopped, INFO, "The process ends.", "") \
    X(reloaded, INFO, "SIGHUP: the settings file was read again.", "") \
    X(registrar_without_pools, WARN, "A registrar's token comes from a version whose tokens named no pools: it may register nowhere.", \
      "Create a token that names the pools, and delete this one.") \
    X(admin_token_made, INFO, "First start: file holds the first admin token.", \
      "Create tokens of your own, then delete the file.") \
    X(setting_kept, WARN, "SIGHUP: option differs in the file, but only a start reads it.", \
      "Restart when convenient.") \
    X(reload_refused, ERROR, "SIGHUP: the settings file has a fault (path, error). Nothing has changed.", \
      "Fix the file; penstock --check-config checks it.") \
    X(state_dir_held, WARN, "Another process holds the state directory (path); the start waits wait_ms for it to end.", \
      "Nothing, after a kill. Else: give each gateway a directory of its own.") \
    X(state_dir_in_container, WARN, "The state directory (path) lies in an overlay, as the own files of a container do: it is lost with the container.", \
      "Mount a volume there.") \
    X(admin_in_clear, WARN, "admin.host is not loopback: tokens cross the network unencrypted.", \
      "Put a proxy with TLS before the admin listener, and let only that reach it.") \
    X(drain_timeout, WARN, "The drain took longer than drain.timeout_ms; open requests were cut off.", "") \
    X(log_not_flushed, ERROR, "The disk did not answer before the process had to end.", \
      "Look at the disk. Orders that were answered accepted are safe.") \
    X(fd_limit_low, WARN, "The process may open fewer files (limit) than http.connections needs (wanted).", \
      "Raise LimitNOFILE.") \
    X(sockets_not_kept, WARN, "The sockets are not in the file-descriptor store of the service manager (why): a restart refuses connections.", \
      "Set FileDescriptorStoreMax= in the unit to at least sockets.") \
    X(stored_socket_dropped, INFO, "A socket of an earlier process was in the store of the service manager, and is not used (why): usually because the " \
      "settings have changed. A new one is opened.", "") \
    X(loopback_is_trusted, WARN, "Any program on this machine can act as any user: trusted_proxies contains loopback.", \
      "Name only the front proxies in trusted_proxies.") \
    X(proxy_clients_are_trusted, WARN, "listen.proxy_protocol_trusts_clients is on: whatever address a PROXY header has, X-User-Id and the fields of " \
      "forwarding are believed.", \
      "Only if each proxy in front overwrites them (HTTP mode); else set it to false.") \
    X(everybody_is_trusted, WARN, "Anybody who reaches the public listener can act as any user: trusted_proxies contains all addresses.", \
      "Name only the front proxies in trusted_proxies.") \
    X(heads_too_large, WARN, "Requests (refused: how many) got 431; at most one line a minute for each worker.", \
      "Cookies are the usual reason: let the CDN or the proxy drop them, or raise http.head_max_kib.") \
    X(proxy_header_refused, WARN, "Connections (refused: how many; peer and why of the last) were closed, because listen.proxy_protocol is on and they " \
      "did not begin with a PROXY header; at most one line a minute for each worker.", \
      "Let the proxy send the header (send-proxy-v2), or turn listen.proxy_protocol off; name the proxy in trusted_proxies.") \
    X(worker_takes_no_mail, ERROR, "A worker's mailbox is full: it does not run its loop.", \
      "Report it; restart if buyers wait.") \
    X(seed_taken, INFO, "The seed of the settings file is stored: its documents are in force.", "") \
    X(seed_failed, ERROR, "The seed of the settings file was not stored (path, error); one line for each fault.", \
      "Fix what path names. Nothing of the seed is in force.") \
    X(seed_ignored, WARN, "The seed differs from the documents in force (differs_in): it is applied at the first start only.", \
      "Change documents through the admin API.") \
    X(limit_without_sale, WARN, "The limit rule is for a sale that does not exist: it limits nobody.", \
      "Check the name of the sale in the rule.") \
    X(twin_without_sale, WARN, "The twin's sale does not exist (twin_of): no rehearsal finds it by that name.", \
      "Check the name; twin_of cannot change, so create another twin for another sale.") \
    X(admin_change, INFO, "An operator changed something: who, what and why. The audit log has before and after.", "") \
    X(admin_change_failed, ERROR, "A change was not made (error).", "error says why; repeat the change afterwards.") \
    X(admin_denied, WARN, "An unknown token came from peer, or the expired one that token names (why).", "Find the program that has it; an expired one needs a new token.") \
    X(admin_locked, WARN, "Ten wrong tokens came from peer within a minute: for a minute further ones get 429 and are not logged. " \
      "Valid tokens are served.", "Find the program that has the wrong token.") \
    X(audit_failed, ERROR, "The audit of a sale could not be made (error).", "Repeat it; error says why it failed.") \
    X(audit_violation, ERROR, "The audit of a sale has found violations (violations; why: the first).", \
      "Get the audit: it lists them. If it says cut, rebuild the counters: POST .../rebuild.") \
    X(audit_line_lost, ERROR, "The audit log lacks an entry.", "Look at the disk of state_dir.") \
    X(tokens_not_synced, ERROR, \
      "A change of tokens is in force, but the disk may not have it (error): after a loss of power the tokens from before may be back.", \
      "Repair the disk of state_dir; then look at the list of tokens.") \
    X(audit_log_not_written, ERROR, "The audit log received an entry later than its change.", "Look at the disk of state_dir.") \
    X(snapshot_not_built, ERROR, "A change of limits or blocklist waits: out of memory. The gateway tries again.", "Free memory.") \
    X(policy_not_delivered, ERROR, "A worker did not receive a change of limits or blocklist.", "Report it; restart.") \
    X(policy_ack_not_delivered, ERROR, "A worker uses a change of limits or blocklist, but could not acknowledge it.", "Report it; restart.") \
    X(signal_absent, INFO, "A signal of overload (signal) cannot be read (why) and does not count. GET /admin/v1/overload says so, too.", \
      "Nothing, if the kernel has no such figure; else let the gateway read the file that why names.") \
    X(signal_back, INFO, "A signal of overload that was absent is read again.", "") \
    X(overload_level_raised, WARN, "The level of overload has risen (from, to, cause; the pressure and the highest signal): features are turned off.", \
      "Nothing: it falls by itself. GET /admin/v1/overload says what is off. If it happens often: more capacity, or a lower global limit.") \
    X(overload_level_lowered, INFO, "The level of overload has fallen (from, to, cause).", "") \
    X(access, INFO, "A request of a buyer was answered (verdict, took_us); one for a page: by which route, endpoint, what the cache had (hit, miss, stale, request, bypass) and with which status; trouble is why the shop did not answer as it should (refused, reset, malformed, timeout...). An answer that broke off has a second line, with the same request_id (trouble: broken). user is a hash that holds until the next start; trace_id is that of its traceparent; address is there with access_log.addresses. rule is the limit (or the feature of the ladder) that has refused it.", "") \
    X(traces_not_sent, WARN, "The collector of traces cannot be reached, or is overloaded (why): spans wait, and then are dropped. Buyers notice nothing.", \
      "Look at the collector of tracing.endpoint. penstock_trace_spans_total counts what is lost.") \
    X(traces_refused, WARN, "The collector of traces refuses spans (why): those are lost.", \
      "Check tracing.endpoint and tracing.headers_file; why is what the collector says.") \
    X(traces_sent, INFO, "The collector takes traces again.", "") \
    X(log_available, INFO, "The log accepts records again.", "") \
    X(log_unavailable, ERROR, "The log accepts no records (why): disk full, read-only or broken; or Kafka is away or slow.", \
      "Make room on the disk or repair it; look at Kafka. It recovers without a restart.") \
    X(log_notice, WARN, "The topic holds a record that is not Penstock's and is skipped, or has a risky setting (why).", \
      "Find out who writes to the topic; fix the setting.") \
    X(log_anomaly, ERROR, "The log has a record that no gateway writes.", \
      "Find out who wrote to the file or the topic; audit the sales.") \
    X(log_unknown_record, WARN, "The log has records of a type that a later version has added (type); they are skipped. Named once for each type.", \
      "Nothing is lost. Run that later version again to use them.") \
    X(log_record_not_folded, ERROR, "A record could not be counted: it names an impossible number of units, or memory ran out.", \
      "If memory ran out, the process ends and reads the log again at its next start: free memory. Else audit the sales.") \
    X(explanation_not_delivered, ERROR, "A worker could not answer what an operator asked: POST /admin/v1/explain got 503.", \
      "Ask again; report it if it comes again.") \
    X(outcome_not_delivered, ERROR, "A worker did not receive the outcome of a record; its buyer was answered pending.", \
      "Report it.") \
    X(wall_clock_jumped, WARN, "The clock was set by by_ms: no order expires, and no sale is archived by the time alone, for the times it says.", "Check time synchronisation.") \
    X(expiry_stalled, ERROR, "The clock has been set repeatedly since since_ms: nothing has expired since then, and unpaid orders keep their units.", "Fix time synchronisation: let one program set the clock, and let it slew. Due orders expire a minute after the last step.") \
    X(expiry_out_of_memory, ERROR, "An order may expire late: out of memory.", "Free memory and restart.") \
    X(sale_archived, INFO, "A sale that is over is in its archive, and this gateway has freed it; discarded: a rehearsal, without an archive.", "") \
    X(archive_differs, ERROR, "Another archive of the sale is there, and was kept (path: the new one, which is read from now on).", \
      "Find out which is right: the log was restored from a backup, or two shops have one archive.dir.") \
    X(sale_not_archived, ERROR, "A sale that is over could not be archived (why). Nothing was deleted; the gateway tries again.", \
      "Fix what why names: space on the disk, the directory of archive.dir, archive.command, or the audit's violations.") \
    X(sale_served, INFO, "The counter of a sale is built; buyers are served.", "") \
    X(load_not_delivered, ERROR, "A counter was built, but its owner could not be notified.", "Report it; restart.") \
    X(opening_not_noted, ERROR, "The opening of a sale could not be stored (error: control.db or Redis). The gateway tries again.", \
      "Repair what error names.") \
    X(sale_not_taken_over, ERROR, "The opening of a sale is stored, but memory ran out.", "Free memory and restart.") \
    X(sale_refused, ERROR, "The sale is not served (why): the log has lost its beginning, or has SKUs that its document lacks.", \
      "Restore the journal, the topic or control.db. Or another gateway sells it from the same topic with a counter in memory: stop that one and restart this one.") \
    X(sale_unknown, WARN, "The log has orders of a sale that control.db lacks: control.db was replaced.", \
      "Restore control.db if the sale is still needed.") \
    X(store_available, INFO, "Redis is back.", "") \
    X(store_unavailable, ERROR, "Redis is away (why): buyers get 503 store_unavailable.", \
      "Look at Redis. The gateway recovers without a restart.") \
    X(breaker_opened, WARN, "The circuit breaker of redis, kafka, a pool or an endpoint (breaker) is no longer closed (why).", \
      "why says what to check; GET /admin/v1/breakers shows the figures.") \
    X(breakers_not_known, ERROR, "Out of memory for the list of breakers of pools and endpoints: they work, but cannot be shown or forced.", \
      "Free memory; any change of a pool lists them again.") \
    X(breaker_closed, INFO, "All circuits of the breaker are closed again.", "") \
    X(endpoint_down, WARN, "The health check of an endpoint fails (pool, endpoint, why): it gets no requests.", \
      "Look at the server; it is used again when its check passes.") \
    X(endpoint_ejected, WARN, "An endpoint is ejected for for_ms, because requests fail there or are slow (pool, endpoint, why).", \
      "Look at the server; it is tried again by itself.") \
    X(endpoint_draining, INFO, "The document drains an endpoint (pool, endpoint): it gets no new requests.", "") \
    X(endpoint_up, INFO, "An endpoint that was down, ejected or drained is used again (pool, endpoint).", "") \
    X(pool_panic, ERROR, "Too few endpoints of a pool are usable (usable, of endpoints): all are used.", \
      "Look at the servers, and at what they have in common: network, database, last release.") \
    X(pool_panic_over, INFO, "Enough endpoints of the pool are usable again.", "") \
    X(override_ended, INFO, "An override of the target has ended, for the gateway it named or (empty) all; the cause is ttl, or the action that ended it. Who had set it.", "") \
    X(plan_run, INFO, "A run of a plan has a new state (state): waiting_approval, armed, active or ended; then also how it has ended (end).", "") \
    X(plan_run_trouble, WARN, "A run of a plan is suspended, since somebody else has changed a member meanwhile, which stays as it is; or it has failed, and changed nothing (why).", \
      "Keep or revert a suspended run; run a failed one again when its cause is gone.") \
    X(plan_change_failed, WARN, "A step of a run that was due could not be stored (error). It is tried again each second.", \
      "Look at the disk of state_dir; in a cluster at Redis.") \
    X(store_error, ERROR, "Redis answered with an error (why): buyers get 503 store_unavailable.", \
      "Fix what why says.") \
    X(sale_opening, INFO, "This gateway writes the first records of a sale.", "") \
    X(sale_rebuild_begins, INFO, "This gateway rebuilds the counters of a sale.", "") \
    X(sale_rebuilt, INFO, "The new counters of a sale are in force, after took_ms.", "") \
    X(sale_not_rebuilt, WARN, "A rebuild was given up (why): another gateway was faster, or a part was away. The gateway tries again.", \
      "Lasting: repair what why names.") \
    X(sale_fenced, WARN, "Redis lost the counters of a sale, or its epoch was ended: buyers get 503 fenced.", \
      "Nothing: the gateways rebuild the counters.") \
    X(sale_not_attached, ERROR, "Redis's data of a sale was not written by a gateway, or may not be read.", \
      "Check the rights of the Redis user; give Penstock a database of its own.") \
    X(sale_key_foreign, ERROR, "A key of this sale in Redis belongs to another program (why): its buyers get 503 store_unavailable; other sales continue.", \
      "Rename the key, or give Penstock a database of its own.") \
    X(effects_out_of_memory, ERROR, "Redis gets released units later: out of memory.", "Free memory.") \
    X(leader_here, INFO, "This gateway now leads the cluster: it writes expiries and sends the log's decisions to Redis.", "") \
    X(gateway_not_alone, ERROR, "Two gateways with journals count in one Redis: this one sells nothing.", \
      "Stop one, or give both log.kind kafka.") \
    X(redis_of_another_log, ERROR, "This Redis counts for another topic (counts_for) than this gateway's (log): nothing is sold here.", \
      "Give each topic a Redis database of its own, or delete the key ps:log if no gateway of the other topic is left.") \
    X(control_shared, INFO, "This gateway has all documents of the cluster.", "") \
    X(control_not_shared, ERROR, "Changes are refused, and those of other gateways do not arrive (error).", \
      "Repair what error names: Redis or control.db.") \
    X(ref_key_not_written, ERROR, "The day's key for the references of refusals was not stored (error). Yesterday's goes on sealing; it is tried again.", \
      "Repair what error names: control.db or Redis.") \
    X(control_redis_away, WARN, "Redis cannot be asked (why): changes are refused, and those of other gateways do not arrive.", \
      "Look at Redis.") \
    X(document_not_in_force, ERROR, "A change is stored, but comes into force at the next start only: out of memory.", \
      "Free memory and restart.") \
    X(shared_copy_taken_over, INFO, "A change made at another gateway is in force here (document, version).", "") \
    X(shared_copy_differs, WARN, "Two gateways had different copies of one version (document): the cluster's is in force.", \
      "Check the document. The gateways had been operated separately.") \
    X(shared_copy_unreadable, ERROR, "Redis has a document that this version cannot read: the old one stays in force here.", \
      "Upgrade this gateway.") \
    X(heartbeats_not_written, WARN, "Heartbeats of registered endpoints could not be stored (error): they get 503, and no registration expires meanwhile.", \
      "Repair what error names: Redis or control.db.") \
    X(discovery_failed, WARN, "The discovery of a pool's endpoints failed (source, why); the last valid list (endpoints) stays in force.", \
      "Repair what why names. The gateway asks again by itself.") \
    X(discovery_held, WARN, "A pool's discovered list is much shorter than before (why): the previous one stays in force for a minute.", \
      "Nothing, if the pool was made smaller: the shorter list is used then. Any change of the pool's document uses it at once.") \
    X(discovery_left_out, WARN, "A pool's source (of a document, a file, the DNS or registrations) names endpoints outside upstream.allowed_networks, or the gateway's own listeners (why): they get no requests.", \
      "Fix the source, or add their network to upstream.allowed_networks.") \
    X(discovery_ok, INFO, "Discovery has changed a pool's endpoints (their number), or works again.", "") \
    X(split_returned, WARN, "A route's split was taken back (why: errors or latency): its pool was worse than the route's own (own_…), and gets no more requests.", \
      "Look at the new pool. Change the split, or POST /admin/v1/routes/{route}/resume, to try it again.") \
    X(split_return_not_written, ERROR, "A split was taken back here, but the route's document could not be written yet: other gateways may still send requests there.", \
      "Nothing: the gateway tries again each second. error says what to check.") \
    X(shared_change_not_written, ERROR, "A change is in force on the other gateways; this one could not store it yet, and does so later.", \
      "Look at the disk of state_dir.")
/* clang-format on */

#endif
