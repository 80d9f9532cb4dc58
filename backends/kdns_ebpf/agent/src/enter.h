/* Asks DNS servers from where a pod is: in its network, with what its resolv.conf says. */
#ifndef KDNS_ENTER_H
#define KDNS_ENTER_H

/* Of the pod with that UID, or of a process. Frames come on standard input and go to standard output. The exit
 * status: 0 at the end of the input, 1 when there is no such process or it cannot be entered. */
int enter(const char *pod_uid, int pid);
#endif
