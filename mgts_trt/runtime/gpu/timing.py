"""Times of a stream's stages, measured by the device."""

from mgts_trt.runtime.cuda.device import DeviceLayer
from mgts_trt.runtime.cuda.streams import Event, Stream


class StageTimer:
    """Milliseconds by stage on one stream: each mark ends the stage that began at the mark before.

    Args:
        device: Makes the events.
        stream: The one it marks.
    """

    def __init__(self, device: DeviceLayer, stream: Stream) -> None:
        self._device, self._stream = device, stream
        self._events: list[Event] = []
        self._stages: list[str | None] = []

    def start(self) -> Event:
        """Forget all marks, and begin with this one."""
        self._stages.clear()
        return self.mark(None)

    def mark(self, stage: str | None) -> Event:
        """End a stage, or with None a time that belongs to none, such as waiting for another stream.

        Returns:
            The event, for others to wait for.
        """
        if len(self._events) == len(self._stages):
            self._events.append(self._device.event(timed=True))
        event = self._events[len(self._stages)]
        self._stages.append(stage)
        return self._stream.record(event)

    def timings(self) -> dict[str, float]:
        """Milliseconds by stage, once the device is past the last mark."""
        timings: dict[str, float] = {}
        for index, stage in enumerate(self._stages):
            if index and stage is not None:
                milliseconds = self._events[index].elapsed_ms(self._events[index - 1])
                timings[stage] = timings.get(stage, 0.0) + milliseconds
        return timings
