-- Which objects are smaller than 32 pixels on a side of the source image?
SELECT o.image_id, o.line, o.class_name,
       (o.xmax - o.xmin) * i.width AS width_px, (o.ymax - o.ymin) * i.height AS height_px
FROM objects AS o
JOIN images AS i ON o.image_id = i.image_id
WHERE (o.xmax - o.xmin) * i.width < 32 OR (o.ymax - o.ymin) * i.height < 32
ORDER BY o.area, o.image_id, o.line
LIMIT 50;
