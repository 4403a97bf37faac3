"""Orders and checkouts as lines: what was bought, what it cost, who bought it, where it goes. Pure; none raises."""

import re
from collections.abc import Callable, Iterator
from typing import Any

from create_conversation.senders.answers import Answer, objects_in, value_at
from create_conversation.senders.message_lines import is_private, is_technical, line, scalar, shown

_MAX_ITEMS = 500
_TIMES = "\u00d7"
# Currencies without a minor unit, and with one of three digits, as Stripe counts them: UGX and ISK have two digits.
_WITHOUT_MINOR = {
    *("BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "VND", "VUV", "XAF", "XOF", "XPF"),
}
_OF_THREE_DIGITS = {"BHD", "JOD", "KWD", "OMR", "TND"}


# --- Stripe -----------------------------------------------------------------------------------------------------------


def stripe_lines(payload: dict[str, Any]) -> Iterator[Answer]:
    """Read `data.object`: a checkout, or another object with an amount or a customer."""
    data = _object(value_at(payload, "data.object"))
    currency = data.get("currency")
    amounts = (data.get(name) for name in ("amount_total", "amount_paid", "amount_due", "amount", "total"))
    yield from line("Amount", *(_minor_money(amount, currency) for amount in amounts))
    items = value_at(data, "line_items.data") or value_at(data, "lines.data")
    yield from _items(items, lambda item: _stripe_item(item, currency))
    for label, name in (("Discount", "amount_discount"), ("Shipping", "amount_shipping"), ("Tax", "amount_tax")):
        yield from line(label, _minor_money(value_at(data, f"total_details.{name}") or None, currency))
    yield from line("Payment", data.get("payment_status"), data.get("status"))
    yield from line("Description", data.get("description"))
    yield from _stripe_customer(data)
    for field in objects_in(data.get("custom_fields")):
        yield from _stripe_field(field)
    metadata = _object(data.get("metadata"))
    yield from shown(Answer(name, "", scalar(value)) for name, value in metadata.items())


def _stripe_item(item: dict[str, Any], currency: Any) -> str:
    amount = item.get("amount_total", item.get("amount"))
    price = _minor_money(amount, item.get("currency") or currency)
    return _item(item.get("quantity"), item.get("description"), price)


def _stripe_customer(data: dict[str, Any]) -> Iterator[Answer]:
    details = _object(data.get("customer_details"))

    def member(name: str) -> tuple[Any, Any, Any]:
        return details.get(name), data.get(f"customer_{name}"), data.get(name)

    yield from line("Name", *member("name"), details.get("individual_name"))
    yield from line("Company", details.get("business_name"))
    yield from line("Email", *member("email"), data.get("receipt_email"))
    yield from line("Phone", *member("phone"))
    yield from line("Address", _address(details.get("address") or data.get("address")))
    shipping = value_at(data, "collected_information.shipping_details") or data.get("shipping_details")
    yield from line("Ship to", _joined(scalar(value_at(shipping, "name")), _address(value_at(shipping, "address"))))


def _stripe_field(field: dict[str, Any]) -> Iterator[Answer]:
    """Read a field that the shop has added to the checkout."""
    kind = scalar(field.get("type"))
    value = value_at(field, f"{kind}.value")
    options = objects_in(value_at(field, f"{kind}.options"))
    chosen = [option.get("label") for option in options if option.get("value") == value]
    yield from line(scalar(value_at(field, "label.custom")) or scalar(field.get("key")), *chosen, value)


def _minor_money(amount: Any, currency: Any) -> str:
    """Write an amount in the currency's smallest unit: 4900 usd is `49.00 USD`, 4900 jpy is `4900 JPY`."""
    if not isinstance(amount, int) or isinstance(amount, bool) or abs(amount) > 10**18:
        return ""
    code = scalar(currency).upper()
    digits = 0 if code in _WITHOUT_MINOR else 3 if code in _OF_THREE_DIGITS else 2
    whole, rest = divmod(abs(amount), 10**digits)
    number = f"{whole}.{rest:0{digits}}" if digits else str(whole)
    return f"{'-' if amount < 0 else ''}{number} {code}".strip()


# --- Shopify ----------------------------------------------------------------------------------------------------------


def shopify_lines(payload: dict[str, Any]) -> Iterator[Answer]:
    """Read an order, a checkout or a customer."""
    if "line_items" in payload:
        yield from _shopify_order(payload)
    customer = _object(payload.get("customer"))
    billing, shipping, address = (payload.get(f"{name}_address") for name in ("billing", "shipping", "default"))
    yield from line("Name", *map(_person, (payload, customer, billing, shipping, address)))
    yield from line("Company", value_at(address, "company"))
    yield from line("Email", payload.get("email"), payload.get("contact_email"), customer.get("email"))
    yield from line("Phone", *(value_at(node, "phone") for node in (payload, customer, address, billing, shipping)))
    yield from line("Address", _address(address))
    yield from line("Billing address", _address(billing))
    yield from line("Ship to", _ship_to(shipping))
    yield from line("Note", payload.get("note"), customer.get("note"))
    for name, value in _pairs(payload.get("note_attributes")):
        yield from line(name, value)
    yield from line("Tags", payload.get("tags"), customer.get("tags"))


def _shopify_order(order: dict[str, Any]) -> Iterator[Answer]:
    currency = order.get("currency")
    yield from line("Order", order.get("name"), order.get("order_number"))
    yield from _items(order.get("line_items"), lambda item: _shopify_item(item, currency))
    codes = _each(order.get("discount_codes"), "code")
    yield from line("Discount", _joined(_money_unless_zero(order.get("total_discounts"), currency), codes))
    yield from line("Shipping", _each(order.get("shipping_lines"), "title"))
    yield from line("Tax", _money_unless_zero(order.get("total_tax"), currency))
    yield from line("Total", _money(order.get("total_price"), currency))
    yield from line("Payment", order.get("financial_status"))


def _shopify_item(item: dict[str, Any], currency: Any) -> str:
    """Write an item with its price, which is that of one."""
    name = item.get("name") or _joined(scalar(item.get("title")), scalar(item.get("variant_title")), between=" - ")
    price = _money(item.get("price"), currency)
    is_one = scalar(item.get("quantity")) in ("", "1")
    return _item(item.get("quantity"), name, price if is_one or not price else f"{price} each", item.get("properties"))


# --- WooCommerce ------------------------------------------------------------------------------------------------------


def woocommerce_lines(payload: dict[str, Any]) -> Iterator[Answer]:
    """Read an order or a customer."""
    if "line_items" in payload or "total" in payload:
        yield from _woocommerce_order(payload)
    billing, shipping = _object(payload.get("billing")), payload.get("shipping")
    yield from line("Name", _person(billing), _person(payload), payload.get("username"))
    yield from line("Email", billing.get("email"), payload.get("email"))
    yield from line("Phone", billing.get("phone"))
    yield from line("Billing address", _address(billing))
    is_same = (_person(shipping), _address(shipping)) == (_person(billing), _address(billing))
    yield from line("Ship to", "" if is_same else _ship_to(shipping))
    yield from line("Note", payload.get("customer_note"))
    for name, value in _pairs(payload.get("meta_data")):
        yield from line(name, value)


def _woocommerce_order(order: dict[str, Any]) -> Iterator[Answer]:
    currency = order.get("currency")
    yield from line("Order", order.get("number"), order.get("id"))
    yield from _items(order.get("line_items"), lambda item: _woocommerce_item(item, currency))
    coupons = _each(order.get("coupon_lines"), "code")
    yield from line("Discount", _joined(_money_unless_zero(order.get("discount_total"), currency), coupons))
    yield from line("Shipping", _money_unless_zero(order.get("shipping_total"), currency))
    yield from line("Tax", _money_unless_zero(order.get("total_tax"), currency))
    yield from line("Total", _money(order.get("total"), currency))
    yield from line("Payment", order.get("payment_method_title"))
    yield from line("Status", order.get("status"))


def _woocommerce_item(item: dict[str, Any], currency: Any) -> str:
    """Write an item with its price, which is that of all of them."""
    return _item(item.get("quantity"), item.get("name"), _money(item.get("total"), currency), item.get("meta_data"))


# --- texts ------------------------------------------------------------------------------------------------------------


def _object(node: Any) -> dict[str, Any]:
    return node if isinstance(node, dict) else {}


def _joined(*texts: str, between: str = ", ") -> str:
    return between.join(filter(None, (text.strip() for text in texts)))


def _members(node: Any, *names: str, between: str = ", ") -> str:
    return _joined(*(scalar(_object(node).get(name)) for name in names), between=between)


def _each(nodes: Any, name: str) -> str:
    return _joined(*(scalar(node.get(name)) for node in objects_in(nodes)[:_MAX_ITEMS]))


def _person(node: Any) -> str:
    return _members(node, "first_name", "last_name", between=" ")


def _address(node: Any) -> str:
    """Write an address of any of the three on one line."""
    street = _members(node, "company", "address1", "address_1", "line1", "address2", "address_2", "line2")
    town = _members(node, "zip", "postcode", "postal_code", "city", between=" ")
    return _joined(street, town, _members(node, "province", "state"), _members(node, "country"))


def _ship_to(node: Any) -> str:
    return _joined(_person(node), _address(node), _members(node, "phone"))


def _money(amount: Any, currency: Any) -> str:
    """Write a decimal amount with its currency."""
    text = scalar(amount).strip()
    return f"{text} {scalar(currency).upper()}".strip() if text else ""


def _money_unless_zero(amount: Any, currency: Any) -> str:
    return _money(amount, currency) if re.search("[1-9]", scalar(amount)) else ""


def _items(items: Any, text: Callable[[dict[str, Any]], str]) -> Iterator[Answer]:
    yield from line("Items", "\n".join(map(text, objects_in(items)[:_MAX_ITEMS])))


def _item(quantity: Any, name: Any, price: str, details: Any = None) -> str:
    """Write how many of what, the choices in brackets, the price."""
    times = f"{scalar(quantity)} {_TIMES} " if scalar(quantity) else ""
    more = "; ".join(f"{label}: {value}" for label, value in _pairs(details) if not is_private(label))
    return _joined(f"{times}{scalar(name) or 'item'}{f' ({more})' if more else ''}", price)


def _pairs(nodes: Any) -> Iterator[tuple[str, str]]:
    """Read a list of names and values, without those that a shop's software keeps for itself."""
    for node in objects_in(nodes)[:_MAX_ITEMS]:
        name = scalar(node.get("name") or node.get("display_key") or node.get("key"))
        value = scalar(node.get("display_value") or node.get("value"))
        if name and value and not name.startswith("_") and not is_technical(Answer(name, "", value)):
            yield name, value
