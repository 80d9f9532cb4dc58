/* The name of a process by its number, as it was when it was last asked for. */
#ifndef KDNS_PROCESS_H
#define KDNS_PROCESS_H
#include <stdint.h>

/* Reads it now, because the process is new. */
void process_learn(uint32_t pid, const char thread_name[16]);
/* `name` gets 16 bytes, the name of the thread where the process was gone before it could be asked, or where
 * the kernel's numbers are not those of /proc. */
void process_name(uint32_t pid, const char thread_name[16], char name[16]);
#endif
