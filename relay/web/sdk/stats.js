/**
 * Stats: what one leg measures, as plain numbers.
 *
 * Bit rates are bit/s and loss is a share 0-1, both over the time since the last reading; rtt and jitter are
 * milliseconds; counters are totals of the leg. What the browser does not tell is null.
 */

const READING_MIN_MS = 250;

export class Meter {
  #last = null;
  #rates = { video: null, audio: null, sentVideo: null, sentAudio: null, loss: null };

  /** One reading of an RTCPeerConnection. */
  async read(connection) {
    const found = { video: null, audio: null, sentVideo: null, sentAudio: null, remoteVideo: null, remoteAudio: null, pair: null };
    const report = await connection.getStats();
    const codecs = new Map();
    for (const entry of report.values()) {
      if (entry.type === 'codec') codecs.set(entry.id, entry.mimeType);
      else if (entry.type === 'inbound-rtp') found[entry.kind] = entry;
      else if (entry.type === 'outbound-rtp') found[entry.kind === 'video' ? 'sentVideo' : 'sentAudio'] = entry;
      else if (entry.type === 'remote-inbound-rtp') found[entry.kind === 'video' ? 'remoteVideo' : 'remoteAudio'] = entry;
      else if (entry.type === 'candidate-pair' && entry.nominated && entry.state === 'succeeded') found.pair = entry;
    }
    this.#rate(found);
    const { video, audio, sentVideo, sentAudio } = found;
    const rtt = found.pair?.currentRoundTripTime ?? found.remoteAudio?.roundTripTime ?? null;
    return {
      video: {
        framesDecoded: video?.framesDecoded ?? 0,
        framesPerSecond: video?.framesPerSecond ?? 0,
        framesDropped: video?.framesDropped ?? 0,
        width: video?.frameWidth ?? 0,
        height: video?.frameHeight ?? 0,
        freezeCount: video?.freezeCount ?? 0,
        keyFramesDecoded: video?.keyFramesDecoded ?? 0,
        pliCount: video?.pliCount ?? 0,
        nackCount: video?.nackCount ?? 0,
        packetsReceived: video?.packetsReceived ?? 0,
        packetsLost: video?.packetsLost ?? 0,
        bitrate: this.#rates.video,
        codec: codecs.get(video?.codecId) ?? null,
      },
      audio: {
        totalAudioEnergy: audio?.totalAudioEnergy ?? 0,
        totalSamplesDuration: audio?.totalSamplesDuration ?? 0,
        audioLevel: audio?.audioLevel ?? 0,
        concealedSamples: audio?.concealedSamples ?? 0,
        totalSamplesReceived: audio?.totalSamplesReceived ?? 0,
        packetsReceived: audio?.packetsReceived ?? 0,
        packetsLost: audio?.packetsLost ?? 0,
        jitter: audio?.jitter === undefined ? null : audio.jitter * 1000,
        bitrate: this.#rates.audio,
        codec: codecs.get(audio?.codecId) ?? null,
      },
      sent: {
        video: {
          framesEncoded: sentVideo?.framesEncoded ?? 0,
          framesPerSecond: sentVideo?.framesPerSecond ?? 0,
          width: sentVideo?.frameWidth ?? 0,
          height: sentVideo?.frameHeight ?? 0,
          packetsSent: sentVideo?.packetsSent ?? 0,
          bitrate: this.#rates.sentVideo,
          loss: found.remoteVideo?.fractionLost ?? null,
          limitedBy: sentVideo?.qualityLimitationReason ?? null,
          codec: codecs.get(sentVideo?.codecId) ?? null,
        },
        audio: {
          packetsSent: sentAudio?.packetsSent ?? 0,
          bitrate: this.#rates.sentAudio,
          loss: found.remoteAudio?.fractionLost ?? null,
          codec: codecs.get(sentAudio?.codecId) ?? null,
        },
      },
      rtt: rtt === null ? null : rtt * 1000,
      loss: this.#rates.loss,
      connection: connection.connectionState,
    };
  }

  #rate(found) {
    const now = {
      at: performance.now(),
      video: found.video?.bytesReceived ?? 0,
      audio: found.audio?.bytesReceived ?? 0,
      sentVideo: found.sentVideo?.bytesSent ?? 0,
      sentAudio: found.sentAudio?.bytesSent ?? 0,
      received: (found.video?.packetsReceived ?? 0) + (found.audio?.packetsReceived ?? 0),
      lost: (found.video?.packetsLost ?? 0) + (found.audio?.packetsLost ?? 0),
    };
    const last = this.#last;
    if (last === null) {
      this.#last = now;
      return;
    }
    const elapsed = now.at - last.at;
    if (elapsed < READING_MIN_MS) return; // two readers at once would make noise of the rates
    for (const name of ['video', 'audio', 'sentVideo', 'sentAudio']) {
      this.#rates[name] = Math.max(0, ((now[name] - last[name]) * 8000) / elapsed);
    }
    // packetsLost may go down when a late packet arrives.
    const lost = Math.max(0, now.lost - last.lost);
    const expected = Math.max(0, now.received - last.received) + lost;
    this.#rates.loss = expected > 0 ? lost / expected : null;
    this.#last = now;
  }
}
