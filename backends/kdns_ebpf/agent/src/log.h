/* One line for people: to standard error, and to every session. */
#ifndef KDNS_LOG_H
#define KDNS_LOG_H
#include "../wire.h"

void log_line(int level, const char *format, ...) __attribute__((format(printf, 2, 3)));
#endif
