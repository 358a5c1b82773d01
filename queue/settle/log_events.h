/* The one table of the worker's log events: level, what each means, and what an operator does about
 * it. The reference page is printed from it; a test compares it with the calls. */
#ifndef ST_LOG_EVENTS_H
#define ST_LOG_EVENTS_H

/* clang-format off */
/*    event, level, what it means, what to do ("" = nothing) */
#define ST_LOG_EVENTS(X) \
    X(started, INFO, "The worker has opened its database and its log, and begins.", "") \
    X(progress, INFO, "Progress: how far the log was read.", "") \
    X(done, INFO, "--once: everything is read, and every decision has its answer.", "") \
    X(stopped, INFO, "The process ends.", "") \
    X(database_away, WARN, "The database cannot be reached, or refuses a statement (why). The worker tries again.", \
      "Repair what why names: a missing right, a full disk.") \
    X(database_back, INFO, "The database is back.", "") \
    X(log_away, WARN, "The journal or Kafka cannot be read (why). The worker tries again.", "Repair what why names.") \
    X(log_back, INFO, "The log is back.", "") \
    X(gateway_away, WARN, "No gateway answers calls, or the token is refused (why). Decisions wait.", \
      "Check the gateways and the token.") \
    X(gateway_back, INFO, "A gateway answers again.", "") \
    X(unknown_record, WARN, "The log has records of a type that a later version has added (type); they are skipped.", \
      "Nothing is lost. Run the version of the gateways that write them to use them.") \
    X(dead_letter, WARN, "A malformed record was put aside.", "Find out who wrote it.") \
    X(dead_letters_unsent, WARN, "The dead-letter topic did not accept them; the table has them.", "Check the topic.") \
    X(metrics_unwritten, WARN, "The metrics file cannot be replaced.", "Correct the permissions of its directory.") \
    X(traces_not_sent, WARN, "The collector of traces cannot be reached, or is overloaded (why): spans wait, and then are dropped.", \
      "Look at the collector of tracing.endpoint.") \
    X(traces_refused, WARN, "The collector of traces refuses spans (why): those are lost.", "Check tracing.endpoint and tracing.headers_file.") \
    X(traces_sent, INFO, "The collector takes traces again.", "") \
    X(conflict, DEBUG, "Another worker stored these records first.", "") \
    X(records_lost, ERROR, "Records were deleted before they were read: orders may be missing.", \
      "Follow \"When records are gone\" in queue/settle/README.md.") \
    X(start_failed, ERROR, "The start failed (where, why).", "Correct what why names.") \
    X(database_refused, ERROR, "The worker cannot use this database (why) and ends.", "Correct what why names.") \
    X(log_refused, ERROR, "The log is not the one that the database was filled from, lacks records, or has a critical record of a later version (why); the worker ends.", \
      "Follow \"When records are gone\" in queue/settle/README.md; for a critical record, run that later version.") \
    X(no_progress, ERROR, "--once made no progress for patience_s and gives up.", "Earlier log lines tell what cannot be reached.")
/* clang-format on */

#endif
