"""How a device's picture is to be shown: the values of plugin-interface §1.9, kept by the relay for each device."""

from typing import Any, Literal

import msgspec


class Profile(msgspec.Struct, frozen=True, rename="camel"):
    """`aspect_ratio` is width to height, None the plugin's default of 4/3; `enable_toggle_camera`: the user may
    switch the camera on and off.
    """

    camera_rotation: Literal[0, 90, 180, 270] = 0
    aspect_ratio: float | None = None
    hor_mirror: bool = False
    vert_mirror: bool = False
    enable_toggle_camera: bool = True
    object_fit: Literal["fill", "contain"] = "fill"


def changed(**fields: Any) -> dict[str, Any]:
    """Some fields of a profile, with the interface's names. Raises TypeError for a name that is none of them."""
    names = {field.name: field.encode_name for field in msgspec.structs.fields(Profile)}
    if unknown := fields.keys() - names.keys():
        raise TypeError(f"a profile has no {', '.join(sorted(unknown))}; it has {', '.join(names)}")
    return {names[name]: value for name, value in fields.items()}
