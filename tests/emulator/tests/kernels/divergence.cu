// Control flow that splits warps in every way structured code can.

// Steps until x reaches 1: a loop with a different trip count in every thread.
extern "C" __global__ void collatz(const unsigned* x, unsigned* steps, unsigned n) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    unsigned v = x[i], count = 0;
    while (v != 1) {
        v = v % 2 ? 3 * v + 1 : v / 2;
        count++;
    }
    steps[i] = count;
}

// Nested loops with break and continue, a switch with fall-through, early returns in the middle of both.
extern "C" __global__ void maze(const int* x, int* y, unsigned n) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    int v = x[i], sum = 0;
    for (int a = 0; a < 8; a++) {
        if ((v + a) % 5 == 0) continue;
        for (int b = 0; b < a; b++) {
            sum += a * b;
            if (sum % 7 == v % 7) break;
            if (sum > 200 + v) {
                y[i] = -sum;
                return;
            }
        }
        switch ((v ^ a) % 6) {
            case 0: sum += 1;  // falls through
            case 1: sum += 10; break;
            case 2:
                do {
                    sum += v % 3 + 1;
                } while (sum % 4 != 0);
                break;
            case 3: sum ^= a; break;
            case 4:
                if (v % 11 == 3) {
                    y[i] = sum;
                    return;
                }
                break;
            default: sum -= 2;
        }
    }
    y[i] = sum;
}

// Warp operations inside divergent branches: lanes of each parity vote and shuffle among themselves,
// then all meet again.
extern "C" __global__ void split_votes(const int* x, unsigned* y) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x, lane = i % 32;
    int v = x[i];
    unsigned r;
    if (lane % 2) {
        r = __ballot_sync(0xaaaaaaaau, v > 0) + __shfl_sync(0xaaaaaaaau, v, 31);
    } else {
        r = __ballot_sync(0x55555555u, v > 0) ^ __shfl_sync(0x55555555u, v, 0);
    }
    __syncwarp();
    y[i] = r + __popc(__ballot_sync(0xffffffffu, r % 2));
}

// Threads hand a token from lane 0 to lane 31 through shared memory: each spins until its predecessor has written,
// which deadlocks unless diverged threads of one warp all make progress.
extern "C" __global__ void hand_over(int* y) {
    __shared__ volatile int token;
    int lane = threadIdx.x;
    if (lane == 0) token = 0;
    __syncwarp();
    bool done = false;
    while (!done) {
        if (token == lane) {
            y[lane] = lane * 3;
            __threadfence_block();
            token = lane + 1;
            done = true;
        }
    }
}

// A loop entered at two places and left at two others.
extern "C" __global__ void two_entries(const int* x, int* y, unsigned n) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    int v = x[i], count = 0;
    if (v % 2) goto odd;
even:
    v /= 2;
    count++;
    if (v > 100) goto even;
    if (v % 3 == 0) goto done;
odd:
    v = v - 3;
    count += 100;
    if (v > 50 && v % 2 == 0) goto even;
    if (v > 0) goto odd;
done:
    y[i] = count * 1000 + v;
}
